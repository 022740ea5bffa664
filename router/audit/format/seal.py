"""Sealing to the reviewer: HPKE (RFC 9180) with X25519, HKDF-SHA-256 and ChaCha20-Poly1305, base mode.

Whoever holds the public key can seal; only the reviewer can open. So a sealed epoch key proves nothing about who
sealed it: the record that carries it is signed by the log's own key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from router.audit.format.hpke import open_base, public_raw

SUITE: Final = "X25519-HKDF-SHA256-CHACHA20POLY1305"
_PUBLIC: Final = "ringfence-reviewer-public-1:"
_PRIVATE: Final = "ringfence-reviewer-secret-1:"


class SealError(ValueError):
    """Not a reviewer's key, or not sealed to it."""


class ReviewerPublic:
    """What a ledger needs to know of its reviewer."""

    def __init__(self, raw: bytes) -> None:
        X25519PublicKey.from_public_bytes(raw)  # ValueError: no such key
        self.raw = raw

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits to tell keys apart."""
        return hashlib.sha256(b"ringfence/reviewer\n" + self.raw).hexdigest()[:16]

    def text(self) -> str:
        return _PUBLIC + base64.b64encode(self.raw).decode()


class ReviewerSecret:
    """The half that belongs on another machine."""

    def __init__(self, raw: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(raw)
        self.raw = raw
        self.public = ReviewerPublic(public_raw(self._key))

    @classmethod
    def generate(cls) -> ReviewerSecret:
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    def text(self) -> str:
        return _PRIVATE + base64.b64encode(self.raw).decode()

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """SealError if it was sealed to another key, for another place, or was altered."""
        try:
            return open_base(sealed, self._key, info)
        except (InvalidTag, ValueError):
            raise SealError("this reviewer's key does not open it") from None


def epoch_info(log: str, epoch: int) -> bytes:
    """What an epoch key is bound to when it is sealed."""
    return b"ringfence/ledger/v1/epoch-key" + bytes.fromhex(log) + epoch.to_bytes(8, "big")


def parse_public(text: str) -> ReviewerPublic:
    """Read `reviewer.pub`; lines that begin with # are remarks."""
    return ReviewerPublic(_parse(text, _PUBLIC))


def parse_secret(text: str) -> ReviewerSecret:
    """Read a reviewer's secret key file."""
    return ReviewerSecret(_parse(text, _PRIVATE))


def _parse(text: str, prefix: str) -> bytes:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) != 1 or not lines[0].startswith(prefix):
        raise SealError(f"one line that begins with {prefix} is wanted")
    try:
        raw = base64.b64decode(lines[0].removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise SealError("the key is not base64") from None
    if len(raw) != 32:
        raise SealError("the key is not 32 bytes long")
    return raw
