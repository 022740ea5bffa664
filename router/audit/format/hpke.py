"""Opening what was sealed by HPKE (RFC 9180), base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305.

The writer seals with the library's own HPKE. The reviewer's machine may have a library from before it had one (Debian
12 has version 38), so opening is written out here, from primitives that every version has.
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

ENCAPSULATED_BYTES: Final = 32
_KEM: Final = b"KEM\x00\x20"
_HPKE: Final = b"HPKE\x00\x20\x00\x01\x00\x03"
_BASE: Final = b"\x00"


def _extract(suite: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    """LabeledExtract, section 4."""
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + secret, "sha256")


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """LabeledExpand, section 4, of at most 32 bytes: one block of HKDF-Expand."""
    message = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, message + b"\x01", "sha256")[:length]


def public_raw(key: X25519PrivateKey) -> bytes:
    """As `public_bytes_raw`, which libraries have from 40 on; imports here what no gate needs."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - a gate starts without it

    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def open_base(sealed: bytes, key: X25519PrivateKey, info: bytes) -> bytes:
    """Decap (4.1), KeySchedule (5.1), Open (5.2), with empty aad. InvalidTag, ValueError: not sealed to this key."""
    encapsulated, ciphertext = sealed[:ENCAPSULATED_BYTES], sealed[ENCAPSULATED_BYTES:]
    agreed = key.exchange(X25519PublicKey.from_public_bytes(encapsulated))
    kem_key = _extract(_KEM, b"", b"eae_prk", agreed)
    shared = _expand(_KEM, kem_key, b"shared_secret", encapsulated + public_raw(key), 32)
    context = _BASE + _extract(_HPKE, b"", b"psk_id_hash", b"") + _extract(_HPKE, b"", b"info_hash", info)
    secret = _extract(_HPKE, shared, b"secret", b"")
    nonce = _expand(_HPKE, secret, b"base_nonce", context, 12)
    return ChaCha20Poly1305(_expand(_HPKE, secret, b"key", context, 32)).decrypt(nonce, ciphertext, b"")
