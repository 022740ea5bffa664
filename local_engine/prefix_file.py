"""Prefixes on disk: the cached states of prompts, each sealed with a key that only the operator's file holds.

Layout: MAGIC, 32 bytes of identity, then records of a 4-byte length, a 12-byte nonce and an AES-256-GCM ciphertext; its
associated data are magic, identity and the record's number: one moved, cut or taken from another file is refused.
The states themselves hold what the prompts say, so nothing of them is ever written unsealed.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = b"RINGFENCE PREFIXES 1\n"
IDENTITY, NONCE, TAG = 32, 12, 16
KEY = re.compile(r"[0-9a-f]{64}")


class Unusable(Exception):
    """The saved prefixes cannot be taken; the sentence says why."""


class BadKey(ValueError):
    """The key file is not one; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """Whose it is, which tokens, and llama.cpp's state of them."""

    scope: str
    tokens: tuple[int, ...]
    state: bytes


def read_key(path: Path, engine: str) -> bytes:
    """The key of one engine, derived from the file's. Raises BadKey and OSError."""
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise BadKey(f"{path} can be read by others: chmod 600 it")
        text = file.read(200).decode("ascii", "replace").strip()
    if not KEY.fullmatch(text):
        raise BadKey(f"{path} must hold 64 hexadecimal digits: write it with `openssl rand -hex 32`")
    return HKDF(SHA256(), 32, None, b"ringfence prefixes " + engine.encode()).derive(bytes.fromhex(text))


def write(path: Path, key: bytes, identity: bytes, prefixes: Iterable[Prefix]) -> int:
    """Replace the file as a whole, mode 0600; returns how many prefixes it holds. Raises OSError."""
    fresh, count = path.with_name(f"{path.name}.new"), 0
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(MAGIC + identity)
        for count, prefix in enumerate(prefixes, 1):
            nonce = os.urandom(NONCE)
            sealed = AESGCM(key).encrypt(nonce, _packed(prefix), _bound(identity, count))
            file.write(struct.pack("<I", len(sealed)) + nonce + sealed)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return count


def read(path: Path, key: bytes, identity: bytes, most: int) -> Iterator[Prefix]:
    """The prefixes in their order, each checked before it is given. Raises Unusable, and OSError."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise Unusable("it is not such a file")
        if file.read(IDENTITY) != identity:
            raise Unusable("it was saved with another model, template or version")
        number = 0
        while length := file.read(4):
            number += 1
            yield _opened(file, key, _bound(identity, number), length, most)


def _opened(file: BinaryIO, key: bytes, bound: bytes, length: bytes, most: int) -> Prefix:
    size = int.from_bytes(length, "little")
    if len(length) < 4 or not TAG < size <= most:
        raise Unusable("it is damaged")
    nonce, sealed = file.read(NONCE), file.read(size)
    if len(sealed) < size:
        raise Unusable("it is cut off")
    try:
        return _unpacked(AESGCM(key).decrypt(nonce, sealed, bound))
    except InvalidTag:
        raise Unusable("it is damaged, or was sealed with another key") from None


def _bound(identity: bytes, number: int) -> bytes:
    return MAGIC + identity + struct.pack("<I", number)


def _packed(prefix: Prefix) -> bytes:
    scope = prefix.scope.encode()
    head = struct.pack("<II", len(scope), len(prefix.tokens))
    return head + scope + struct.pack(f"<{len(prefix.tokens)}i", *prefix.tokens) + prefix.state


def _unpacked(raw: bytes) -> Prefix:
    """Of bytes that this program sealed itself."""
    length, count = struct.unpack_from("<II", raw)
    tokens = struct.unpack_from(f"<{count}i", raw, 8 + length)
    return Prefix(raw[8 : 8 + length].decode(), tokens, raw[8 + length + 4 * count :])
