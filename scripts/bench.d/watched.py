"""What it costs a loaded node to be looked at: scraped, with the page open, and with `top` in a terminal."""

import socket
import threading
import time

import load as loads
import process
from load import load
from peers import Pointsman

# Prometheus usually asks every 15 s or minute; the page and `top` do so by themselves.
SCRAPE, PAGE, TOP = 10, 2, 2

LIST = "/v1/running/services?sort=requests&order=desc&size=50&page=1&q="


class Watchers:
    """All of them at once for as long as the block lasts, from the load's core."""

    def __init__(self, stats):
        self.stats, self.ends, self.answers = stats, False, 0

    def __enter__(self):
        whats = [self._stream]
        for every, paths in ((SCRAPE, ["/metrics"]), (PAGE, [LIST]), (TOP, ["/v1/overview?history=1", LIST])):
            whats.append(lambda every=every, paths=paths: self._ask(every, paths))
        self.threads = [threading.Thread(target=what) for what in whats]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ends = True
        for thread in self.threads:
            thread.join(20)

    def _ask(self, every, paths):
        asker = loads.Asker(self.stats)
        while not self.ends:
            for path in paths:
                # A connection that was kept for too long is closed.
                if asker.status("localhost", path) != 200 and asker.status("localhost", path) != 200:
                    raise process.Failed(f"{path} is not answered")
                self.answers += 1
            self._sleep(every)

    def _stream(self):
        host, _, port = self.stats.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5) as stream:
            stream.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not self.ends:
                self.answers += stream.recv(1 << 20).count(b"event: overview")

    def _sleep(self, seconds):
        until = time.monotonic() + seconds
        while not self.ends and time.monotonic() < until:
            time.sleep(0.05)


def p12(bench):
    """Requests beside a scrape every 10 s, an open page and top; CPU of all threads per request."""
    if not bench.wants("pointsman"):
        return
    seconds = max(bench.seconds * 2, 2)
    for services in sorted({10, bench.at_most(10_000)}):
        peer = Pointsman(bench.origin, services, etcd=bench.etcd)
        peer.start()
        try:
            load(peer.address, 2, hosts=services)
            for _ in range(bench.rounds):
                alone = _cost(peer, seconds, services)
                with Watchers(peer.stats) as watchers:
                    watched = _cost(peer, seconds, services)
                if watchers.answers < seconds:
                    raise process.Failed(f"only {watchers.answers} answers in {seconds} s")
                bench.record(f"P12 CPU per request alone, {services} services", "µs", peer.name, alone)
                bench.record(f"P12 CPU per request watched, {services} services", "µs", peer.name, watched)
                bench.record(f"P12 watched ÷ alone, {services} services", "", peer.name, watched / alone)
        finally:
            peer.end()


def _cost(peer, seconds, services):
    before = peer.process.cpu()
    result = load(peer.address, seconds, hosts=services)
    cpu = peer.process.cpu() - before
    return cpu / result["requests"] * 1e6
