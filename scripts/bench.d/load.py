"""Load and questions: wrk, and single requests on raw sockets."""

import re
import socket
import time

import process
from process import Failed, LOAD_CORE

# Requests over the hosts of all services, drawn anew for each; formatted once.
_RANDOM_HOSTS = """
local count = %d
local requests = {}
init = function()
  math.randomseed(1)
  for i = 0, count - 1 do
    requests[i] = wrk.format("GET", "/", {["Host"] = "host-" .. i .. ".test"})
  end
end
request = function() return requests[math.random(0, count - 1)] end
"""

_SUMMARY = """
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("SUMMARY %d %d %d %d %d %d %d %d %d\\n", summary.requests, summary.bytes, summary.duration,
    e.connect, e.read, e.write, e.timeout, e.status, latency:percentile(99)))
end
"""


class Load:
    """wrk under way or done."""

    def __init__(self, address, seconds, connections=64, host="host-0.test", hosts=None, close=False, target="/", fields=(), tls=False):
        script = _SUMMARY + (_RANDOM_HOSTS % hosts if hosts else "")
        lua = process.path(f"load-{time.monotonic_ns()}.lua", script)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", lua]
        if not hosts:
            command += ["-H", f"Host: {host}"]
        for field in fields:
            command += ["-H", field]
        if close:
            command += ["-H", "Connection: close"]
        self.seconds = seconds
        self.process = process.Process("wrk", command + [f"{'https' if tls else 'http'}://{address}{target}"], core=LOAD_CORE)

    def result(self):
        try:
            self.process.child.wait(self.seconds + 30)
        finally:
            self.process.end()
        with open(self.process.log) as f:
            text = f.read()
        found = re.search(r"SUMMARY ([\d ]+)", text)
        if not found:
            raise Failed(f"wrk told nothing:\n{text}")
        numbers = [int(x) for x in found.group(1).split()]
        names = ("requests", "bytes", "us", "connect", "read", "write", "timeout", "status", "p99_us")
        result = dict(zip(names, numbers))
        result["socket_errors"] = sum(result[k] for k in ("connect", "read", "write", "timeout"))
        if result["requests"] == 0:
            raise Failed(f"wrk got no answer:\n{text}")
        return result


def load(*args, **more):
    return Load(*args, **more).result()


class Asker:
    """One kept connection for single questions; made anew whenever the other side closes it, or, when
    it is not to be kept, for each."""

    def __init__(self, address, keep=True):
        self.keep = keep
        host, _, port = address.rpartition(":")
        self.address = (host, int(port))
        self.socket = None

    def status(self, host, target="/"):
        """The status, or 0 where there is no answer."""
        try:
            if self.socket is None:
                self.socket = socket.create_connection(self.address, timeout=5)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            return self._answer()
        except OSError:
            self.close()
            return 0

    def _answer(self):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.socket.recv(65536)
            if not piece:
                raise OSError("closed")
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
        closes = re.search(rb"\r\nconnection: *close", head, re.I)
        length = int(found.group(1)) if found else 0
        while len(body) < length:
            piece = self.socket.recv(65536)
            if not piece:
                raise OSError("closed")
            body += piece
        if closes or not found or not self.keep:
            self.close()
        return int(head.split(b" ", 2)[1])

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def status_of(address, host="localhost", target="/"):
    asker = Asker(address)
    try:
        return asker.status(host, target)
    finally:
        asker.close()
