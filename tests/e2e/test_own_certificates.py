"""The whole, sealed service: a server that wants a client certificate, a name that DNS does not know."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509

from tests.fakes import answers
from tests.fakes.running import fake_upstream
from tests.router.certificates import Authority
from tests.service import running, until


class Handler(BaseHTTPRequestHandler):
    """Answers everything with one completion."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(answers.models("m"))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(answers.answer(self.path, "m", "over mutual TLS"))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


class Quiet(ThreadingHTTPServer):
    """A handshake that fails is the point of the test."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        return


@contextmanager
def mutual(authority: Authority) -> Iterator[int]:
    """A server that wants a certificate of the authority; its port."""
    context = authority.server().context()
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    with Quiet(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_the_sealed_gate_shows_its_certificate_and_dials_a_name_of_the_table(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    pem = authority.server().file.read_text()
    at = pem.index("-----BEGIN PRIVATE KEY")
    (tmp_path / "client.pem").write_text(pem[:at])
    (tmp_path / "client.key").write_text(pem[at:])
    (tmp_path / "client.key").chmod(0o600)
    with mutual(authority) as port, fake_upstream() as fake:
        policy = f"""
hosts: {{gpu.lan.example: [127.0.0.1]}}
upstreams:
  mutual:
    url: "https://127.0.0.1:{port}/v1"
    ca_file: authority.pem
    client_cert: client.pem
    client_key: client.key
  bare: {{url: "https://127.0.0.1:{port}/x", ca_file: authority.pem}}
  named: {{url: "http://gpu.lan.example:{fake.port}/v1", addresses: [127.0.0.0/8]}}
tiers:
- {{name: first, upstreams: [mutual, bare]}}
- {{name: second, upstreams: [named]}}
models: {{m: {{tiers: [first, second]}}, n: {{tiers: [second]}}}}
"""
        with running(tmp_path, policy) as service:
            states = {}

            def settled() -> bool:
                states.update(
                    {row["name"]: row["state"] for tier in service.health()["tiers"].values() for row in tier}
                )
                return states == {"mutual": "ready", "bare": "failing", "named": "ready"}

            until(settled, 10, f"states {states}")
            answer = service.post(
                "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]}
            )
            assert answer.json()["choices"][0]["message"]["content"] == "over mutual TLS"
            named = service.post("/v1/chat/completions", {"model": "n", "messages": [{"role": "user", "content": "x"}]})
            assert (named.status_code, named.headers["x-ringfence-upstream"]) == (200, "named")
            metric = 'ringfence_upstream_certificate_expiry_timestamp_seconds{upstream="mutual"} '
            [line] = [line for line in service.get("/metrics").text.splitlines() if line.startswith(metric)]
            shown = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
            assert abs(float(line.removeprefix(metric)) - shown.timestamp()) < 60  # made a moment apart
            assert dict(fake.asked()[0]["headers"])["Host"] == f"gpu.lan.example:{fake.port}"
