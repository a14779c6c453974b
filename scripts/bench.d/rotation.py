"""P10: rotations of one of many certificates while clients shake hands for all of them.

The clock starts before the put is sent and ends when a handshake shows the new certificate. Meanwhile processes of their
own shake hands for names by chance, the rotated one among them, and ask for a page; each that fails counts. They and
the requests on kept connections leave no time of the proxy's core unused.
"""

import hashlib
import json
import os
import random
import ssl
import subprocess
import sys
import time

import process
from load import Load
from peers import ROOT, Pointsman
from process import LOAD_CORE, Failed
from tls import ask, certificate, connect, context

CLIENTS = 2


def p10(bench):
    """A new certificate is put, a handshake shows it, beside a thousand others and under load."""
    if not bench.wants("pointsman"):
        return
    many, rotations = bench.at_most(1000), 30 if bench.quick else 1000
    others = [_bundle(i, f"cert-{i}.test") for i in range(many - 1)]
    turns = [_bundle(many + i, "turning.test") for i in range(rotations)]
    peer = Pointsman(bench.origin, etcd=bench.etcd, tls=certificate("P-256"))
    peer.start()
    clients = []
    try:
        bench.etcd.put_all({f"{ROOT}/certs/other-{i}": bundle for i, (bundle, _) in enumerate(others)})
        last = others[-1][1]
        process.wait("the other certificates", lambda: _shown(peer, f"cert-{many - 2}.test") == last, limit=60, process=peer.process)
        kept = Load(peer.tls_address, 600, connections=16, tls=True)
        clients = [_client(peer, many - 1) for _ in range(CLIENTS)]
        # They take what is left of their core: what etcd and the measuring wait for them is no rotation's.
        for pid in [kept.process.pid, *(client.pid for client in clients)]:
            os.setpriority(os.PRIO_PROCESS, pid, 10)
        time.sleep(1)
        for bundle, expected in turns:
            start = time.monotonic()
            bench.etcd.put(f"{ROOT}/certs/turning", bundle)
            process.wait("the new certificate", lambda: _shown(peer, "turning.test") == expected, pause=0.0002, process=peer.process)
            bench.figures.record(f"P10 put to new certificate, {many} certificates", "ms", peer.name, (time.monotonic() - start) * 1e3)
            time.sleep(0.01)
        told = [_end(client) for client in clients]
        kept.process.assert_alive()
        kept.process.end()
        bench.record("P10 rotations under load", "", peer.name, rotations)
        bench.record("P10 handshakes meanwhile", "", peer.name, sum(t["count"] for t in told))
        bench.record("P10 handshakes that failed", "", peer.name, sum(t["failed"] for t in told))
        for t in told:
            if t["why"]:
                print(f"  {t['why']}", file=sys.stderr, flush=True)
    finally:
        for client in clients:
            client.kill()
        # The next trial begins with the certificates it names itself.
        bench.etcd.remove_prefix(f"{ROOT}/certs/")
        peer.end()


def _bundle(serial, name):
    """A certificate of its own for one key, and what it looks like on the wire."""
    key = process.path("rotation.key")
    if not os.path.exists(key):
        process.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key])
    pem = process.run(["openssl", "req", "-x509", "-key", key, "-days", "30", "-set_serial", str(serial + 1),
                       "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"])
    with open(key) as file:
        return pem + file.read(), hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def _shown(peer, name):
    connection = context().wrap_socket(connect(peer.tls_address), server_hostname=name)
    der = connection.getpeercert(binary_form=True)
    connection.close()
    return hashlib.sha256(der).hexdigest()


def _client(peer, others):
    command = ["taskset", "-c", LOAD_CORE, sys.executable, __file__, peer.tls_address, str(others)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _end(client):
    """Its input ends, and it tells what it saw."""
    out, _ = client.communicate(timeout=30)
    if client.returncode != 0:
        raise Failed(f"a client ended with {client.returncode}: {out}")
    return json.loads(out)


def _main(address, others):
    import threading
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    careless = context()
    count = failed = 0
    why = ""
    while not ended.is_set():
        name = "turning.test" if random.random() < 0.5 else f"cert-{random.randrange(int(others))}.test"
        try:
            connection = careless.wrap_socket(connect(address), server_hostname=name)
            # The page is of one host; the name asked for in the handshake is what counts here.
            ask(connection, keep=False)
            connection.close()
        except (OSError, Failed) as error:
            failed += 1
            why = f"{name}: {error}"
        count += 1
        time.sleep(0.001)
    print(json.dumps({"count": count, "failed": failed, "why": why}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
