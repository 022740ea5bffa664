"""Sealing to the reviewer, on the writer's side: HPKE as the library has it. Opening is in format/hpke.py."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from router.audit.format.seal import ReviewerPublic


def seal(reviewer: ReviewerPublic, secret: bytes, info: bytes) -> bytes:
    """Encapsulated key and ciphertext, 48 bytes longer than `secret`; opens only with the same `info`."""
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    return suite.encrypt(secret, X25519PublicKey.from_public_bytes(reviewer.raw), info=info)
