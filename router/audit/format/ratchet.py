"""The epoch key and its ratchet: a key thief learns nothing about the records before the theft.

    K[i+1] || M[i] = SHA-512(00000001 || K[i] || "ringfence/ledger/v1/ratchet" || log || epoch || i)
    mac[i]         = HMAC-SHA-256(M[i], what the MAC covers)

The first line is the one-step key derivation of NIST SP 800-56C (section 4.1, option 1 with SHA-512): K and M
are 32 bytes each, log is 16 bytes, epoch and i are 64 bits, big-endian. K at the epoch's first record is the epoch
key. M is bound to log, epoch and index, so a record cannot be given the MAC of another place, nor of a later key
(CVE-2023-31439).
"""

from __future__ import annotations

import ctypes
import hashlib
import struct
from collections.abc import Sequence
from io import BytesIO
from itertools import chain
from typing import Final

from router.audit.format.openssl import hmac_new

KEY_BYTES: Final = 32
_LABEL: Final = b"ringfence/ledger/v1/ratchet"
_COUNTER: Final = b"\x00\x00\x00\x01"
_HEADER: Final = bytes.__basicsize__ - 1  # where CPython keeps the contents of a bytes object
_sha256: Final = hashlib.sha256
_sha512: Final = hashlib.sha512
_INDEX: Final = struct.Struct(">Q")
_M: Final = struct.Struct(f"{KEY_BYTES}x{KEY_BYTES}s")  # of K and M
_INNER: Final = bytes(code ^ 0x36 for code in range(256))
_OUTER: Final = bytes(code ^ 0x5C for code in range(256))
_INNER_PAD: Final = b"\x36" * (64 - KEY_BYTES)
_OUTER_PAD: Final = b"\x5c" * (64 - KEY_BYTES)
_NOTHING: Final = bytes(2 * KEY_BYTES)
_FIRST, _SECOND, _ALL = slice(KEY_BYTES), slice(KEY_BYTES, 2 * KEY_BYTES), slice(None)


def wipe(secret: bytes) -> None:
    """Overwrite a bytes object that nobody else holds. CPython only, as the rest of the gate."""
    ctypes.memset(id(secret) + _HEADER, 0, len(secret))


def context(log: str, epoch: int) -> bytes:
    """What binds derived keys to one epoch of one log."""
    return _LABEL + bytes.fromhex(log) + epoch.to_bytes(8, "big")


def step(key: bytes, bound: bytes, index: int) -> tuple[bytes, bytes]:
    """K[i+1] and M[i] from K[i]: the reviewer's side, which has nothing to hide from itself."""
    both = hashlib.sha512(_COUNTER + key + bound + index.to_bytes(8, "big")).digest()
    return both[:KEY_BYTES], both[KEY_BYTES:]


def expected_macs(key: bytes, bound: bytes, first: int, messages: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """K after the last of them, and the MACs that records first, first + 1, … must have.

    HMAC-SHA-256 (RFC 2104) written out for 32-byte keys: half as dear as hmac.digest. Nothing is overwritten.
    """
    both, steps, derivation = key, list[bytes](), struct.Struct(f">4s{KEY_BYTES}s{len(bound)}sQ").pack
    for index in range(first, first + len(messages)):
        both = _sha512(derivation(_COUNTER, both, bound, index)).digest()  # K and M: of these it takes K
        steps.append(both)
    secrets = b"".join(steps)
    inner, outer = (chain.from_iterable(_M.iter_unpack(secrets.translate(pad))) for pad in (_INNER, _OUTER))
    hashed = [_sha256(_INNER_PAD.join(parts)).digest() for parts in zip(inner, messages, strict=True)]
    macs = [_sha256(_OUTER_PAD.join(parts)).digest() for parts in zip(outer, hashed, strict=True)]
    return both[:KEY_BYTES], macs


class Ratchet:
    """Holds one key, K of the next record, in one place; each step overwrites the one before.

    M and what is made of it lie in OpenSSL's memory, which it overwrites as it frees it. hmac.digest would give the
    interpreter to another thread each time; `hmac_new` does so for messages from 2048 bytes on.
    """

    __slots__ = ("_index", "_input", "_key")

    def __init__(self, epoch_key: bytes, log: str, epoch: int, index: int) -> None:
        """`epoch_key` (32 bytes) is overwritten: hand over the only reference."""
        self._index = index
        self._input = bytearray(_COUNTER + bytes(KEY_BYTES) + context(log, epoch) + bytes(8))
        # filled through a view: a bytearray that is given a slice first makes a copy of it, which nobody overwrites
        self._key = memoryview(self._input)[len(_COUNTER) : len(_COUNTER) + KEY_BYTES]
        self._key[:] = epoch_key
        wipe(epoch_key)

    def mac(self, message: bytes) -> bytes:
        """The MAC of the next record; the keys that made it are gone when this returns."""
        given, index = self._input, self._index
        _INDEX.pack_into(given, len(given) - 8, index)
        both = BytesIO(_sha512(given).digest()).getbuffer()  # the digest's own memory: nobody else holds it
        self._key[_ALL] = both[_FIRST]
        mac = hmac_new(both[_SECOND], message, "sha256").digest()
        both[_ALL] = _NOTHING
        self._index = index + 1
        return mac

    def destroy(self) -> None:
        """Overwrite the last key: this epoch can never be continued."""
        self._key[:] = bytes(KEY_BYTES)
