"""One record is one line of JSON with one possible spelling; its MAC covers the very bytes stored.

    {"v":1,"log":…,"epoch":…,"i":…,"prev":…,"t":…,"mono":…,"kind":…,"body":{…},"mac":"…"}
    └──────────────── head ───────────────┘└──────────────── rest ────────────────────────┘
    └────────────────────────── what the MAC covers ─────────────────────┘

Rule 1: the head follows from where the record stands. A reader builds it and compares bytes; it never parses it.
Rule 2: the line has no line feed in it; the one that follows it belongs to no record.
Rule 3: `prev` is the RFC 6962 leaf hash of the line before (32 zero bytes before the first), so one hash serves
the chain and the tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

VERSION: Final = 1
MOST_LINE_BYTES: Final = 65_535  # an entry bundle (C2SP tlog-tiles) counts lengths in 16 bits
FIRST_PREV: Final = bytes(32)
MAC_BYTES: Final = 32
TAIL_BYTES: Final = len(b',"mac":""}') + 2 * MAC_BYTES


def head(log: str, epoch: int, index: int, prev: bytes) -> bytes:
    """The beginning of the line at `index` in log `log` (32 hexadecimal digits)."""
    return f'{{"v":1,"log":"{log}","epoch":{epoch},"i":{index},"prev":"{prev.hex()}",'.encode()


def covered(start: bytes, t_us: int, mono_us: int, kind: str, body: bytes) -> bytes:
    """All that the MAC covers: `start` is head(…), `body` one JSON object, times in microseconds."""
    told = f'"t":{t_us},"mono":{mono_us},"kind":"' + kind + '","body":'  # an enumeration's word is slow to format
    return start + told.encode() + body


def finish(message: bytes, mac: bytes) -> bytes:
    """The whole line, without its line feed."""
    return message + b',"mac":"' + mac.hex().encode() + b'"}'


def leaf_hash(line: bytes) -> bytes:
    """RFC 6962, 2.1: SHA-256(0x00 || line)."""
    return hashlib.sha256(b"\x00" + line).digest()


def leaf_hashes(lines: Sequence[bytes]) -> list[bytes]:
    """leaf_hash of each."""
    sha256 = hashlib.sha256
    return [sha256(b"\x00" + line).digest() for line in lines]
