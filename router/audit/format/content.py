"""Keyed digests and sealed content: what a reviewer can later ask and open, and what erasure destroys."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from router.audit.format.openssl import HMAC, hmac_new

DIGESTS: Final = "digests"
CAPTURES: Final = "captures"
SUFFIX: Final = ".sealed"
_LABEL: Final = b"ringfence/ledger/v1/"
_AT_ONCE: Final = 31 * 64  # bytes, whole blocks of SHA-256: what hashlib hashes without letting go of the interpreter
_LONG: Final = 256 * 1024  # bytes: of a longer text, other threads may have the interpreter meanwhile


def digest_key_info(log: str, day: str) -> bytes:
    """What a day's digest key is bound to when it is sealed; `day` as 2026-11-21."""
    return _LABEL + b"digest-key" + bytes.fromhex(log) + day.encode()


def caller_key(digest_key: bytes, caller: str) -> bytes:
    """One key for each caller, so that the same words of two callers have different digests."""
    return hmac.digest(digest_key, _LABEL + b"caller\x00" + caller.encode(), "sha256")


def content_mac(key: bytes, text: bytes) -> str:
    """The digest that a record holds, hexadecimal; `key` is caller_key(…)."""
    return hmac.digest(key, text, "sha256").hex()


class CallerDigest:
    """content_mac under one key whose half of the work is done once (RFC 2104): the writer's, who has many texts for
    one caller. It holds no key; OpenSSL overwrites its states when they are freed.
    """

    __slots__ = ("_begun",)

    def __init__(self, key: bytes) -> None:
        """`key` is caller_key(…)."""
        self._begun = hmac_new(key, digestmod="sha256")

    def of_each(self, texts: Iterable[bytes]) -> list[str]:
        """content_mac of each."""
        macs = list[str]()
        for text in texts:
            state = self._begun.copy()
            if len(text) <= _AT_ONCE:
                state.update(text)
            else:
                _take(state, text)
            macs.append(state.hexdigest())
        return macs


def _take(state: HMAC, text: bytes) -> None:
    """Hash in pieces. For more than 2047 bytes at once hashlib lets go of the interpreter: the ledger's other thread
    takes it, and the event loop's has to wait until it is back, which costs more than the hash of a prompt.
    """
    view = memoryview(text)
    step = _AT_ONCE if len(text) <= _LONG else _LONG
    for at in range(0, len(text), step):
        state.update(view[at : at + step])


def capture_info(log: str, request_id: str, part: str) -> bytes:
    """What a sealed prompt or answer is bound to."""
    return _LABEL + b"capture" + bytes.fromhex(log) + b"\x00" + request_id.encode() + b"\x00" + part.encode()


def piece_info(info: bytes, number: int, *, last: bool) -> bytes:
    """What one piece of a sealed text is bound to; `info` is capture_info(…)."""
    return info + b"\x00" + number.to_bytes(8, "big") + bytes([last])


def pieces_of(data: bytes) -> list[bytes]:
    """The sealed pieces of a file; ValueError if it is cut."""
    found, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            raise ValueError("a sealed file ends within a piece")
        found.append(data[at + 4 : end])
        at = end
    return found


def sealed_name(sealed: bytes) -> str:
    """The name that a record knows a sealed file by: of ciphertext, so it says nothing about the text."""
    return hashlib.sha256(sealed).hexdigest()
