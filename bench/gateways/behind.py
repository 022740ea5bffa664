"""TLS behind the gateway: nginx ends it before the mock; what it burns is on nobody's account."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.gateways.processes import start, stop, wait_for
from bench.gateways.wire import connects, free_ports

NAME = "mock.lan.example"  # it stands for 127.0.0.1, in settings only

NGINX_CONF = """
daemon off; worker_processes 1; pid {directory}/front.pid; error_log {directory}/front-error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_max_body_size 32m; client_body_buffer_size 1m;
  client_body_temp_path {directory}/fb; proxy_temp_path {directory}/fp; fastcgi_temp_path {directory}/ff;
  uwsgi_temp_path {directory}/fu; scgi_temp_path {directory}/fs;
  upstream mock {{ server 127.0.0.1:{behind}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096; keepalive_requests 1000000000; keepalive_timeout 1h;
    ssl_certificate {directory}/server.pem; ssl_certificate_key {directory}/server.key; ssl_protocols TLSv1.3;
    location / {{
      proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM: whom clients trust, what the server shows."""

    authority: Path
    server: Path
    key: Path


def authority(directory: Path) -> Certificate:
    """An authority of its own, and a certificate by it for NAME, good for a day."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench authority")])
    now = dt.datetime.now(dt.UTC)

    def signed(name: x509.Name, public: ec.EllipticCurvePublicKey, *, ca: bool) -> x509.Certificate:
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        subject_id = x509.SubjectKeyIdentifier.from_public_key(public)
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
        built = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(root_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(subject_id, critical=False)
            .add_extension(issuer_id, critical=False)
        )
        if not ca:
            built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        return built.sign(root_key, hashes.SHA256())

    made = Certificate(directory / "authority.pem", directory / "server.pem", directory / "server.key")
    pem = serialization.Encoding.PEM
    made.authority.write_bytes(signed(root_name, root_key.public_key(), ca=True).public_bytes(pem))
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    made.server.write_bytes(signed(server_name, key.public_key(), ca=False).public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    made.key.write_bytes(private)
    return made


@contextmanager
def tls_front(directory: Path, behind: int, certificate: Certificate, cores: list[int]) -> Iterator[int]:
    """A port that speaks TLS 1.3 and passes on to the mock."""
    port = free_ports()
    file = directory / "front.conf"
    file.write_text(NGINX_CONF.format(directory=certificate.server.parent, port=port, behind=behind))
    process = start(["/usr/sbin/nginx", "-p", directory, "-c", file], directory, directory / "front.log", on=cores)
    try:
        wait_for(lambda: connects(port), 10.0, "nginx, which ends TLS before the mock")
        yield port
    finally:
        stop(process)
