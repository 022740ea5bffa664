"""What an upstream's certificate says. Imported when the first one is seen: without TLS a gate starts faster by it."""

from __future__ import annotations

import base64
import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID


def pin_of(certificate: bytes) -> str:
    """The SHA-256 of the SubjectPublicKeyInfo of a certificate (DER), as RFC 7469 wrote it."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256/{base64.b64encode(hashlib.sha256(spki).digest()).decode()}"


def certificate_names(certificate: bytes) -> tuple[str, ...]:
    """The DNS names that a certificate (DER) is for, its common name among them; () for one that cannot be read."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        common = [str(name.value) for name in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        other = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return tuple(common)
    except ValueError:
        return ()
    return (*common, *other.get_values_for_type(x509.DNSName))
