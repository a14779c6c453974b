"""The measurements, by the names of docs/architecture.md: P1 to P12; and `cost`.

Each trial is a function from `Bench` to nothing; it records figures by what was measured and by whom.
A round runs every peer once, one after the other, so that what the machine does besides hits all alike.
"""

import threading
import time

import process
from cost import cost
from joining import p11
from load import Asker, Load, load
from peers import ROOT, HAProxy, Nginx, Pointsman, Traefik
from process import Failed, Process
from rotation import p10
from tls import p3, p8
from watched import p12

MANY = 10_000
# A hundred, and a few more against those that fall together.
SWAPS_PER_SECOND = 103
FEW = 10


def p1(bench):
    """Keep-alive requests, small answers."""
    for _ in range(bench.rounds):
        for peer in bench.http_peers(FEW, fields=True):
            result, cpu = _loaded(peer, bench.seconds)
            bench.record("P1 CPU per request", "µs", peer.name, cpu / result["requests"] * 1e6)
            bench.record("P1 requests", "1/s", peer.name, result["requests"] / result["us"] * 1e6)


def p2(bench):
    """The same over the hosts of 10 and of 10,000 services."""
    many = bench.at_most(MANY)
    for _ in range(bench.rounds):
        for services in (FEW, many):
            for peer in bench.http_peers(services, acl=True):
                seconds = 2 if isinstance(peer, HAProxy) and peer.style == "acl" else bench.seconds
                result, cpu = _loaded(peer, seconds, hosts=services)
                bench.record(f"P2 CPU per request, {services} services", "µs", peer.name, cpu / result["requests"] * 1e6)


def p4(bench):
    """TCP: a gigabyte, and a connection."""
    for _ in range(bench.rounds):
        for peer in bench.tcp_peers():
            peer.start()
            try:
                result, cpu = _measure(peer, bench.seconds, connections=8, target="/large")
                bench.record("P4 CPU per GB of TCP", "s", peer.name, cpu / (result["bytes"] / 1e9))
                result, cpu = _measure(peer, 2, connections=32, close=True)
                bench.record("P4 CPU per TCP connection", "µs", peer.name, cpu / result["requests"] * 1e6)
            finally:
                peer.end()


def p5(bench):
    """A key is put, a request on its new route is answered. The clock starts before the put is sent."""
    many = bench.at_most(MANY)
    for services in sorted({FEW, bench.at_most(1000), many}):
        for peer in bench.changing_peers(services):
            is_quick = isinstance(peer, Pointsman)
            if is_quick and services not in (FEW, many):
                continue
            changes = bench.changes if is_quick else bench.slow_changes
            peer.start()
            try:
                time.sleep(2.5 if isinstance(peer, Traefik) else 0.2)
                # HAProxy's old process goes on answering a connection that is never idle, by the old
                # configuration. What a new client sees is what is measured there.
                asker = Asker(peer.address, keep=not isinstance(peer, HAProxy))
                for n in range(changes):
                    i = services + n
                    host = f"host-{i}.test"
                    _no_route(asker.status(host), host)
                    start = peer.add(i)
                    process.wait(f"{peer.name} to route {host}", lambda: asker.status(host) == 200, limit=60,
                                 pause=0.0002, process=peer.process)
                    bench.record(f"P5 put to traffic, {services} services", "ms", peer.name, (time.monotonic() - start) * 1e3)
                    peer.after_add()
                    # Traefik takes one change in two seconds and works on it for a while after it is live;
                    # a change at once would measure that.
                    time.sleep(0.02 if is_quick else 2.2 + services / 2000 if isinstance(peer, Traefik) else 0.5)
                asker.close()
            finally:
                peer.end()


def p6(bench):
    """CPU of one change, spaced, with what idling costs taken off."""
    many = bench.at_most(MANY)
    for _ in range(bench.rounds):
        for services in (FEW, many):
            for peer in bench.changing_peers(services, traefik=False):
                is_quick = isinstance(peer, Pointsman)
                changes, pause = (bench.changes, 0.02) if is_quick else (bench.slow_changes, 3.0 if services > 100 else 0.5)
                # Processes that a reload leaves behind are in their parent's account only in ticks;
                # changes that cost far less than a tick need the scheduler's own figure.
                cpu_of = Process.fine_cpu if is_quick else Process.cpu
                peer.start()
                try:
                    time.sleep(1)
                    idle = _cpu_over(cpu_of, peer, lambda: time.sleep(2)) / 2
                    start = time.monotonic()

                    def change():
                        for n in range(changes):
                            peer.add(services + n)
                            peer.after_add()
                            time.sleep(pause)
                        time.sleep(0.5)

                    cpu = _cpu_over(cpu_of, peer, change)
                    cpu -= idle * (time.monotonic() - start)
                    bench.record(f"P6 CPU per change, {services} services", "ms", peer.name, max(cpu, 0) / changes * 1e3)
                finally:
                    peer.end()


class Putter:
    """Puts the keys that `key_of` gives, a hundred in a second, for as long as the block lasts."""

    def __init__(self, etcd, key_of):
        self.etcd, self.key_of, self.done, self.ends = etcd, key_of, 0, False

    def __enter__(self):
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def _run(self):
        start = time.monotonic()
        while not self.ends:
            time.sleep(max(start + self.done / SWAPS_PER_SECOND - time.monotonic(), 0))
            self.etcd.put(*self.key_of(self.done))
            self.done += 1

    def __exit__(self, *_):
        self.ends = True
        self.thread.join(60)


def p7(bench):
    """Swaps under load: what fails, what waits longer, what stays in memory."""
    if not bench.wants("pointsman"):
        return
    services = bench.at_most(1000)
    swaps = 10_000 if not bench.quick else 500
    peer = Pointsman(bench.origin, services, checks=60, etcd=bench.etcd)
    peer.start()
    try:
        # The same puts beside the tree: what etcd and its client cost the load's core is no swap.
        with Putter(bench.etcd, lambda i: ("/elsewhere/moving", f"moving-{i}.test")):
            calm = load(peer.address, max(bench.seconds * 5, 5), connections=32, hosts=services)
        # Changes that come while one is applied are one swap: there are fewer swaps than changes.
        seconds = max(swaps // 100, 5)
        under_load = Load(peer.address, seconds, connections=32, hosts=services)
        before = peer.generation()
        memory = []
        key = f"{ROOT}/services/moving/virtual_hosts"
        with Putter(bench.etcd, lambda i: (key, f"moving-{i}.test")) as putter:
            process.wait("a hundred swaps", lambda: putter.done >= 100, process=peer.process)
            memory.append(peer.process.rss())
            result = under_load.result()
        done = putter.done
        # All of them are live before memory is read the last time.
        last = f"moving-{done - 1}.test"
        asker = Asker(peer.address)
        process.wait("the last swap", lambda: asker.status(last) in (200, 503), process=peer.process)
        memory.append(peer.process.rss())
        bench.record("P7 changes put under load", "", peer.name, done)
        bench.record("P7 generations swapped in", "", peer.name, peer.generation() - before)
        bench.record("P7 answers other than 2xx", "", peer.name, result["status"])
        bench.record("P7 socket errors", "", peer.name, result["socket_errors"])
        bench.record("P7 p99 with swaps ÷ without", "", peer.name, result["p99_us"] / max(calm["p99_us"], 1))
        bench.record("P7 memory after all ÷ after 100", "", peer.name, memory[1] / memory[0])
    finally:
        peer.end()


def p9(bench):
    """Start with many services until ready: /ready for us, the first good answer for others."""
    many = bench.at_most(MANY)
    for _ in range(bench.rounds):
        for peer in bench.changing_peers(many):
            if isinstance(peer, Pointsman):
                peer.is_serving = peer.is_ready
            try:
                bench.record(f"P9 start to ready, {many} services", "ms", peer.name, peer.start() * 1e3)
            finally:
                peer.end()


TRIALS = {"P1": p1, "P2": p2, "P3": p3, "P4": p4, "P5": p5, "P6": p6, "P7": p7, "P8": p8, "P9": p9, "P10": p10, "P11": p11, "P12": p12, "cost": cost}


def _loaded(peer, seconds, **more):
    peer.start()
    try:
        return _measure(peer, seconds, **more)
    finally:
        peer.end()


def _measure(peer, seconds, **more):
    """A short run to warm up, then one that counts."""
    load(peer.address, 1, **more)
    before = peer.process.cpu()
    result = load(peer.address, seconds, **more)
    cpu = peer.process.cpu() - before
    if result["status"] or result["socket_errors"] > result["requests"] // 1000:
        raise Failed(f"{peer.name}: not a clean run: {result}\n{peer.process.tail()}")
    return result, cpu


def _cpu_over(cpu_of, peer, what):
    before = cpu_of(peer.process)
    what()
    return cpu_of(peer.process) - before


def _no_route(status, host):
    if status == 200:
        raise Failed(f"{host} is routed before its key is put")
