"""P3 and P8: what TLS costs, and what idle connections hold.

The same certificate for all, ECDSA P-256 or RSA 2048, and TLS 1.3; the client is OpenSSL on the load's
core. A handshake is a connection with one request in it; a resumed one offers the ticket of the last,
and is only counted if it was taken.
"""

import json
import os
import socket
import ssl
import sys
import time

import process
from load import load
from process import LOAD_CORE, Failed

KINDS = {"P-256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "RSA-2048": ["rsa:2048"]}
HOST = "host-0.test"
IDLE = 2000


def certificate(kind):
    """Key and certificate in one file."""
    bundle = process.path(f"{kind}.pem")
    if not os.path.exists(bundle):
        key, cert = process.path(f"{kind}.key"), process.path(f"{kind}.crt")
        process.run(["openssl", "req", "-x509", "-newkey", *KINDS[kind], "-nodes", "-days", "30", "-keyout", key,
                     "-out", cert, "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"])
        with open(cert) as c, open(key) as k:
            process.path(f"{kind}.pem", c.read() + k.read())
    return bundle


def p3(bench):
    """TLS 1.3: full and resumed handshakes, and requests on kept connections."""
    for _ in range(bench.rounds):
        for kind in KINDS:
            for peer in bench.tls_peers(certificate(kind)):
                peer.start()
                try:
                    for how, what in (("full", f"full handshake, {kind}"), ("resumed", f"resumed handshake, {kind}")):
                        _shake(peer, how, 1)
                        before = peer.process.fine_cpu()
                        count = _shake(peer, how, bench.seconds)
                        cpu = peer.process.fine_cpu() - before
                        bench.record(f"P3 CPU per {what}", "µs", peer.name, cpu / count * 1e6)
                    if kind == "P-256":
                        load(peer.tls_address, 1, tls=True)
                        before = peer.process.cpu()
                        result = load(peer.tls_address, bench.seconds, tls=True)
                        cpu = peer.process.cpu() - before
                        if result["status"] or result["socket_errors"]:
                            raise Failed(f"{peer.name}: not a clean run: {result}")
                        bench.record("P3 CPU per request, kept connections", "µs", peer.name, cpu / result["requests"] * 1e6)
                finally:
                    peer.end()


def p8(bench):
    """Memory of idle connections that are kept, without TLS and with it."""
    for _ in range(bench.rounds):
        for peer in bench.tls_peers(certificate("P-256"), timeout="120s"):
            peer.start()
            try:
                for address, what in ((peer.address, "plain"), (peer.tls_address, "TLS")):
                    # What the first connections make a program fetch once is no connection's.
                    _hold(address, what == "TLS", 200)
                    before = peer.process.rss()
                    held = _hold(address, what == "TLS", IDLE)
                    bench.record(f"P8 memory per idle connection, {what}", "KiB", peer.name,
                                 (peer.process.rss() - before) / IDLE / 1024)
                    for each in held:
                        each.close()
            finally:
                peer.end()


def _hold(address, tls, count):
    """Connections that have had one answer each."""
    careless = context()
    held = []
    for _ in range(count):
        connection = connect(address)
        if tls:
            connection = careless.wrap_socket(connection, server_hostname=HOST)
        ask(connection, keep=True)
        held.append(connection)
    time.sleep(0.5)
    return held


def _shake(peer, how, seconds):
    """Handshakes for so long, by a process of its own on the load's core; gives their number."""
    command = ["taskset", "-c", LOAD_CORE, sys.executable, __file__, peer.tls_address, how, str(seconds)]
    told = json.loads(process.run(command, limit=seconds + 30))
    if told["other"]:
        raise Failed(f"{peer.name}: {told['other']} of {told['count']} handshakes were not {how}")
    return told["count"]


def context():
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    careless.minimum_version = ssl.TLSVersion.TLSv1_3
    return careless


def connect(address):
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask(connection, keep):
    end = "" if keep else "Connection: close\r\n"
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n{end}\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < 64:
        piece = connection.recv(65536)
        if not piece:
            raise Failed(f"no whole answer: {data!r}")
        data += piece
    if not data.startswith(b"HTTP/1.1 200"):
        raise Failed(f"not 200: {data!r}")


def _main(address, how, seconds):
    careless, session = context(), None
    count = other = 0
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        connection = careless.wrap_socket(connect(address), server_hostname=HOST, session=session)
        ask(connection, keep=False)
        count += 1
        is_first = session is None
        if how == "resumed":
            session = connection.session
            other += not (connection.session_reused or is_first)
        elif connection.session_reused:
            other += 1
        connection.close()
    print(json.dumps({"count": count, "other": other}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
