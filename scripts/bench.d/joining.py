"""P11: a container's start to the first request that it serves.

The clock starts when its port takes a connection for the first time, which a thread tries every millisecond from before
`docker run` on, and ends when the balancer answers a request for its host with 200. Seen with `--store docker:` on one host,
and with an agent that announces it in etcd.
"""

import os
import socket
import subprocess
import threading
import time

import load
import process
from peers import ROOT, binary_of_pointsman
from process import PROXY_CORE, Failed, Process

NAME = f"pointsman-bench-{os.getpid()}"
SUBNET = "10.213.77"


def p11(bench):
    """Containers start one after another, and each serves."""
    if not bench.wants("pointsman"):
        return
    if subprocess.run(["docker", "info"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
        raise Failed("no Docker engine answers")
    env = {**os.environ, "POINTSMAN": binary_of_pointsman(), "TAG": "bench"}
    process.run(["scripts/images", "pointsman"], limit=120, env=env)
    process.run(["docker", "network", "create", "--subnet", f"{SUBNET}.0/24", NAME])
    containers = 10 if bench.quick else 100
    try:
        for through_etcd in (False, True):
            _run(bench, through_etcd, containers)
    finally:
        process.run(["docker", "network", "rm", NAME])


def _run(bench, through_etcd, containers):
    http, stats = (f"127.0.0.1:{process.free_port()}" for _ in range(2))
    etcd = f"etcd://{bench.etcd.address}"
    link = f"docker:?link={NAME}"
    state = process.path(f"state-{stats}")
    os.makedirs(state, exist_ok=True)
    bench.etcd.remove_prefix(ROOT + "/")
    started = []
    if through_etcd:
        started.append(Process("agent", [binary_of_pointsman(), "agent", "--docker", link, "--store", etcd, "--root", ROOT], core=PROXY_CORE))
    node = Process("pointsman", [binary_of_pointsman(), "run", "--store", etcd if through_etcd else link, "--root", ROOT, "--http", http,
                                 "--https", "none", "--stats", stats, "--state-dir", state, "--workers", "1", "--node", "bench"])
    started.append(node)
    process.wait("the balancer", lambda: load.status_of(stats, "localhost", "/live") == 200, process=node)
    how = "through etcd" if through_etcd else "on one host"
    for number in range(containers):
        address, host, name = f"{SUBNET}.{number + 20}", f"c{number}.test", f"{NAME}-{number}"
        opened = []
        watcher = threading.Thread(target=_watch, args=(address, opened), daemon=True)
        watcher.start()
        process.run(["docker", "run", "-d", "--no-healthcheck", "--name", name, "--network", NAME, "--ip", address,
                     "--label", f"lb.link={NAME}", "--label", f"lb.service={name}", "--label", f"lb.virtual_hosts={host}",
                     "--label", "lb.internal_port=8000", "pointsman:bench", "whoami", "--listen", "0.0.0.0:8000"])
        try:
            process.wait(f"{host} {how}", lambda: load.status_of(http, host) == 200, pause=0.001, process=node)
            served = time.monotonic()
            watcher.join(10)
            if not opened:
                raise Failed(f"{name}: its port was never seen open")
            bench.figures.record(f"P11 port open to first request, {how}", "ms", "pointsman", max(0.0, served - opened[0]) * 1e3)
        finally:
            process.run(["docker", "rm", "-f", name])
    for one in started:
        one.end()


def _watch(address, opened):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            socket.create_connection((address, 8000), timeout=0.2).close()
            opened.append(time.monotonic())
            return
        except OSError:
            time.sleep(0.001)
