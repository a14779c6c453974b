"""etcd: started, filled in transactions, changed by single puts over its JSON gateway."""

import base64
import http.client
import json
import socket

import process
from process import LOAD_CORE


def _text(value):
    return base64.b64encode(value.encode()).decode()


class Etcd:
    def __init__(self):
        client, peer = process.free_port(), process.free_port()
        self.address = f"127.0.0.1:{client}"
        url, peer_url = f"http://{self.address}", f"http://127.0.0.1:{peer}"
        self.process = process.Process("etcd", [
            "etcd", "--data-dir", process.path(f"etcd-{client}"), "--listen-client-urls", url,
            "--advertise-client-urls", url, "--listen-peer-urls", peer_url,
            "--initial-advertise-peer-urls", peer_url, "--initial-cluster", f"default={peer_url}",
            "--unsafe-no-fsync", "--log-level", "error"], core=LOAD_CORE)
        self.connection = http.client.HTTPConnection(self.address, timeout=30)
        process.wait("etcd", self._is_healthy, process=self.process)

    def _is_healthy(self):
        try:
            self._post("kv/range", {"key": _text("x")})
            return True
        except (OSError, http.client.HTTPException):
            self.connection.close()
            return False

    def _send(self, call, body):
        self.connection.request("POST", f"/v3/{call}", json.dumps(body))
        if self.connection.sock:
            self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _receive(self):
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise process.Failed(f"etcd: {answer.status} {text[:300]!r}")
        return json.loads(text)

    def _post(self, call, body):
        self._send(call, body)
        return self._receive()

    def put_all(self, keys):
        """Puts a dict in as few transactions as etcd takes (128 operations each)."""
        items = list(keys.items())
        for at in range(0, len(items), 120):
            puts = [{"requestPut": {"key": _text(k), "value": _text(v)}} for k, v in items[at:at + 120]]
            self._post("kv/txn", {"success": puts})

    def put(self, key, value):
        self._post("kv/put", {"key": _text(key), "value": _text(value)})

    def begin_put_all(self, keys):
        """Sends one transaction without waiting for its answer, which `end_put` reads."""
        puts = [{"requestPut": {"key": _text(k), "value": _text(v)}} for k, v in keys.items()]
        self._send("kv/txn", {"success": puts})

    def end_put(self):
        self._receive()

    def remove_prefix(self, prefix):
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        self._post("kv/deleterange", {"key": _text(prefix), "range_end": _text(end)})

    def end(self):
        self.connection.close()
        self.process.end()
