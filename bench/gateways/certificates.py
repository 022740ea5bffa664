"""Certificates for a run: an authority of its own, and one by it for the mock and for what stands before it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "mock.lan.example"  # it stands for 127.0.0.1, in settings only


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

    names = x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(ip_address("127.0.0.1"))])

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
            built = built.add_extension(names, critical=False)
        return built.sign(root_key, hashes.SHA256())

    made = Certificate(directory / "authority.pem", directory / "server.pem", directory / "server.key")
    pem = serialization.Encoding.PEM
    made.authority.write_bytes(signed(root_name, root_key.public_key(), ca=True).public_bytes(pem))
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    made.server.write_bytes(signed(server_name, key.public_key(), ca=False).public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    made.key.touch(mode=0o600)
    made.key.write_bytes(private)
    return made
