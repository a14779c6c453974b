"""What each thing costs that can be switched on: CPU per request with it, and the same by HAProxy."""

import base64

import process
from load import load
from peers import ROOT, HAProxy, Pointsman
from process import Failed

BASIC = "Authorization: Basic " + base64.b64encode(b"anna:secret").decode()
# Of "secret", by openssl passwd -5 -salt pointsman.
SHA256 = "$5$pointsman$gwkeE.vzOiGvNufooE3ytubT8eeflM6TtxsX/8SZ42D"


class Feature:
    """`keys` of every service, `settings` of the balancer, `fields` that the client sends; for HAProxy,
    lines of its global, userlist, frontend and backend sections (server lines end with `server`)."""

    def __init__(self, name, keys=None, settings=None, fields=(), top="", front="", back="", server=""):
        self.name, self.keys, self.settings, self.fields = name, keys or {}, settings or {}, fields
        self.top, self.front, self.back, self.server = top, front, back, server


def features(log):
    return [
        Feature("nothing"),
        Feature("access log, httplog to a file or to nobody's UDP port",
                settings={"access_log": f"file:{log}", "access_log_format": "httplog"},
                front="    option httplog\n    log 127.0.0.1:9 local0\n"),
        Feature("access log, JSON to a file", settings={"access_log": f"file:{log}", "access_log_format": "json"}),
        Feature("LB cookie, sent by the client", keys={"cookie": "cookie LB_SERVERID insert indirect nocache"},
                fields=["Cookie: LB_SERVERID=a"], back="    cookie LB_SERVERID insert indirect nocache\n", server=" cookie a"),
        Feature("basic auth, sha-256 crypt, seen before", keys={"basic_auth_secrets": f"user anna password {SHA256}"},
                fields=[BASIC], top=f"userlist u\n    user anna password {SHA256}\n",
                back="    http-request auth unless { http_auth(u) }\n    http-request del-header Authorization\n"),
        Feature("header rules: 2 of the request, 2 of the answer",
                keys={"request_headers": "set X-One: 1\nremove X-Two", "response_headers": "set X-Three: 3\nremove Server"},
                back="    http-request set-header X-One 1\n    http-request del-header X-Two\n"
                     "    http-response set-header X-Three 3\n    http-response del-header Server\n"),
        Feature("custom settings: 2 ACLs, a deny, a set-header with a sample",
                keys={"custom_settings": "acl admin path_beg /admin\nacl home src 10.0.0.0/8\n"
                                         "http-request deny if admin !home\nhttp-request set-header X-Path %[path]"},
                back="    acl admin path_beg /admin\n    acl home src 10.0.0.0/8\n"
                     "    http-request deny if admin !home\n    http-request set-header X-Path %[path]\n"),
        Feature("limits: connections, body, networks",
                keys={"max_connections": "1000", "max_body_size": "1m", "allow": "127.0.0.0/8, 10.0.0.0/8"},
                back="    fullconn 1000\n    http-request deny if { req.body_size gt 1048576 }\n"
                     "    http-request deny unless { src 127.0.0.0/8 10.0.0.0/8 }\n", server=" maxconn 1000"),
    ]


class Ours(Pointsman):
    def __init__(self, feature, *args, **more):
        super().__init__(*args, **more)
        self.feature = feature

    def keys(self, i):
        return {**super().keys(i), **{f"{ROOT}/services/svc-{i}/{key}": value for key, value in self.feature.keys.items()}}

    def prepare(self):
        super().prepare()
        self.etcd.put_all({f"{ROOT}/settings/{key}": value for key, value in self.feature.settings.items()})

    def command(self):
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in self.feature.settings.items()]
        return super().command() + flags

    def is_serving(self):
        # Some features answer the bare request that this would ask with 401.
        return self.is_ready()


class Theirs(HAProxy):
    def __init__(self, feature, *args, **more):
        super().__init__(*args, **more)
        self.feature = feature
        self.name = "haproxy map"

    def text(self, count):
        feature = self.feature
        text = super().text(count).replace("frontend http\n", f"{feature.top}frontend http\n")
        text = text.replace("    use_backend", f"{feature.front}    use_backend")
        text = text.replace("    balance roundrobin\n", f"    balance roundrobin\n{feature.back}")
        return text.replace(f"server a {self.origin.address}", f"server a {self.origin.address}{feature.server}")

    def is_serving(self):
        return self._is_loaded()


def cost(bench):
    """What each feature costs when it is on, keep-alive requests over 10 services."""
    log = process.path("access.log")
    for _ in range(bench.rounds):
        for feature in features(log):
            peers = [Ours(feature, bench.origin, etcd=bench.etcd)] if bench.wants("pointsman") else []
            is_comparable = feature.name == "nothing" or feature.front or feature.back
            if bench.wants("haproxy") and is_comparable:
                peers.append(Theirs(feature, bench.origin))
            for peer in peers:
                peer.start()
                try:
                    more = {"fields": feature.fields}
                    load(peer.address, 1, **more)
                    before = peer.process.cpu()
                    result = load(peer.address, bench.seconds, **more)
                    cpu = peer.process.cpu() - before
                finally:
                    peer.end()
                if result["status"] or result["socket_errors"] > result["requests"] // 1000:
                    raise Failed(f"{peer.name}, {feature.name}: not a clean run: {result}\n{peer.process.tail()}")
                bench.record(f"CPU per request, {feature.name}", "µs", peer.name, cpu / result["requests"] * 1e6)
            with open(log, "w"):
                pass
