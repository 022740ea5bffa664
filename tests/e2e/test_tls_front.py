"""TLS to clients, by the whole sealed service: real sockets, a certificate that changes under connections."""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from pathlib import Path

from tests.fakes.running import Fake
from tests.router.certificates import Authority, Server
from tests.service import ringfence, running

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


def install(server: Server, directory: Path) -> None:
    """The certificate and its key where the policy file names them."""
    pem = server.file.read_text()
    at = pem.index("-----BEGIN PRIVATE KEY")
    (directory / "front.pem").write_text(pem[:at])
    key = os.open(directory / "front.key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(key, "w") as file:
        file.write(pem[at:])


def connect(port: int, trusting: ssl.SSLContext) -> ssl.SSLSocket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    return trusting.wrap_socket(sock, server_hostname="127.0.0.1")


def serial(wrapped: ssl.SSLSocket) -> int:
    shown = wrapped.getpeercert()
    assert shown is not None
    return int(str(shown["serialNumber"]), 16)


def live(wrapped: ssl.SSLSocket) -> bool:
    """One request, its answer read to the end."""
    wrapped.sendall(LIVE)
    received = b""
    while b"alive" not in received:
        received += (came := wrapped.recv(65536))
        assert came, f"closed after {received!r}"
    return received.startswith(b"HTTP/1.1 200")


def test_a_certificate_is_renewed_under_connections(tmp_path: Path, fake: Fake) -> None:
    authority = Authority.make(tmp_path)
    first, second = authority.server(), authority.server()
    trusting = ssl.create_default_context(cafile=str(authority.file))
    trusting.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on: our authority is a plain one
    install(first, tmp_path)
    policy = f"""
listen: {{workers: 2, tls: {{certificate: front.pem, key: front.key}}}}
upstreams: {{one: {{url: "http://127.0.0.1:{fake.port}/v1"}}}}
default_model: m
"""
    with running(tmp_path, policy) as service:
        assert service.url.startswith("https://")
        assert service.post("/v1/chat/completions", CHAT).json()["choices"]
        streamed = service.post("/v1/chat/completions", {**CHAT, "stream": True})
        assert streamed.text.endswith("data: [DONE]\n\n")
        warm = ringfence(tmp_path, "warm", "--port", str(service.port), "--ca-file", "authority.pem")
        assert (warm.returncode, warm.stdout.splitlines()[-1:]) == (0, ["warm"]), warm.stdout + warm.stderr
        assert ringfence(tmp_path, "warm", "--port", str(service.port), "--https").returncode == 2, "nobody's authority"

        metric = r"^ringfence_listener_certificate_expiry_timestamp_seconds (\d+)$"
        shown = re.findall(metric, service.get("/metrics").text, re.MULTILINE)
        assert shown == [str(int(first.certificate.not_valid_after_utc.timestamp()))]

        kept = connect(service.port, trusting)
        assert (serial(kept), live(kept)) == (first.certificate.serial_number, True)
        install(second, tmp_path)
        told = ringfence(tmp_path, "reload", "--config", "policy.yaml")
        assert told.returncode == 0, told.stdout + told.stderr
        for _ in range(6):  # whichever worker takes it
            with connect(service.port, trusting) as fresh:
                assert (serial(fresh), live(fresh)) == (second.certificate.serial_number, True)
        assert live(kept), "a connection under way keeps what it began with"
        kept.close()

        (tmp_path / "front.pem").write_text((tmp_path / f"{first.certificate.serial_number}.pem").read_text())
        told = ringfence(tmp_path, "reload", "--config", "policy.yaml")
        assert told.returncode == 1
        assert re.search(r"policy\.yaml:2:\d+: listen\.tls\.key: is not the key of the first certificate", told.stderr)
        with connect(service.port, trusting) as fresh:
            assert serial(fresh) == second.certificate.serial_number, "the old one stays in force"

        (tmp_path / "policy.yaml").write_text(re.sub(", tls: {.*?}", "", policy))
        told = ringfence(tmp_path, "reload", "--config", "policy.yaml")
        assert "'listen' cannot change while the service runs" in told.stdout + told.stderr

        idle = connect(service.port, trusting)  # says nothing, and does not answer that it is closed
        assert live(idle)
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < 15, "nobody is waited for as long as 'drain' allows"
        idle.close()
