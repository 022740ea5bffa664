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
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final

MOST_LINE_BYTES: Final = 65_535  # an entry bundle (C2SP tlog-tiles) counts lengths in 16 bits
FIRST_PREV: Final = bytes(32)
MAC_BYTES: Final = 32
_BEFORE_MAC: Final = b',"mac":"'
_AFTER_MAC: Final = b'"}'
MAC_DIGITS: Final = 2 * MAC_BYTES
TAIL_BYTES: Final = len(_BEFORE_MAC) + MAC_DIGITS + len(_AFTER_MAC)
_MAC: Final = slice(-MAC_DIGITS - len(_AFTER_MAC), -len(_AFTER_MAC))
_FIXED: Final = (*enumerate(_BEFORE_MAC), *enumerate(_AFTER_MAC, len(_BEFORE_MAC) + MAC_DIGITS))  # of a line's tail
_CONSTANT: Final = (_BEFORE_MAC + _AFTER_MAC).translate(None, b"0123456789abcdef")
_sha256: Final = hashlib.sha256
Mac = Callable[[bytes], bytes]
_tail: Final = itemgetter(slice(-TAIL_BYTES, None))


def head(log: str, epoch: int, index: int, prev: bytes) -> bytes:
    """The beginning of the line at `index` in log `log` (32 hexadecimal digits)."""
    return f'{start(log, epoch)}{index},"prev":"{prev.hex()}",'.encode()


def start(log: str, epoch: int) -> str:
    """What the heads of one epoch have in common: all before the index."""
    return f'{{"v":1,"log":"{log}","epoch":{epoch},"i":'


def write(
    begun: str, place: tuple[int, bytes], times_us: tuple[int, int], kind: str, body: bytes, mac: Mac
) -> tuple[bytes, bytes]:
    """finish(covered(head(…), …), …) with its line feed, and the line's leaf_hash(…): for the writer, who needs both.

    `begun`: start(…) of the epoch; `place`: the index, and the leaf hash before; `times_us`: the clock's and the
    monotonic clock's; `mac`: makes the MAC of what it is given.
    """
    (index, prev), (t_us, mono_us) = place, times_us
    told = f'{begun}{index},"prev":"{prev.hex()}","t":{t_us},"mono":{mono_us},"kind":"' + kind + '","body":'
    message = told.encode() + body
    line = message + _BEFORE_MAC + mac(message).hex().encode() + _AFTER_MAC
    return line + b"\n", _sha256(b"\x00" + line).digest()


def heads(log: str, epoch: int, first: int, prevs: Sequence[bytes]) -> bytes:
    """The heads of the lines at `first`, first + 1, …, one behind the other; `prevs`: the leaf hashes before each.

    All indexes must have as many digits. The heads are made of zeros, into which the indexes are put column by column.
    """
    digits = "".join(map(str, range(first, first + len(prevs)))).encode()
    width = len(digits) // len(prevs)
    begun = start(log, epoch)
    before, after = f'{begun}{"0" * width},"prev":"', '",'
    links = b"".join(prevs).hex("|", len(FIRST_PREV)).replace("|", after + before)
    told = bytearray((before + links + after).encode())
    for column in range(width):
        told[len(begun) + column :: len(told) // len(prevs)] = digits[column::width]
    return bytes(told)


def mac_of(line: bytes) -> bytes:
    """Where the MAC stands, whatever stands there."""
    return line[_MAC]


def tails_of(lines: Sequence[bytes]) -> bytes:
    """Their ends, one behind the other; ValueError unless each is a MAC in hexadecimal digits, as a record's is.

    Asked of all lines at once, column by column.
    """
    count, ends = len(lines), b"".join(map(_tail, lines))
    usual = len(ends) == TAIL_BYTES * count and ends.translate(None, b"0123456789abcdef") == _CONSTANT * count
    if not usual or any(ends[at::TAIL_BYTES] != bytes([code]) * count for at, code in _FIXED):
        raise ValueError("a line does not end in its MAC")
    return ends


def tails(macs: Sequence[bytes]) -> bytes:
    """How lines with these MACs end, one behind the other."""
    between = (_AFTER_MAC + _BEFORE_MAC).decode()
    return _BEFORE_MAC + b"".join(macs).hex("|", MAC_BYTES).replace("|", between).encode() + _AFTER_MAC


def covered(begin: bytes, t_us: int, mono_us: int, kind: str, body: bytes) -> bytes:
    """All that the MAC covers: `begin` is head(…), `body` one JSON object, times in microseconds."""
    told = f'"t":{t_us},"mono":{mono_us},"kind":"' + kind + '","body":'  # an enumeration's word is slow to format
    return begin + told.encode() + body


def finish(message: bytes, mac: bytes) -> bytes:
    """The whole line, without its line feed."""
    return message + _BEFORE_MAC + mac.hex().encode() + _AFTER_MAC


def leaf_hash(line: bytes) -> bytes:
    """RFC 6962, 2.1: SHA-256(0x00 || line)."""
    return hashlib.sha256(b"\x00" + line).digest()


def leaf_hashes(lines: Sequence[bytes]) -> list[bytes]:
    """leaf_hash of each."""
    sha256 = hashlib.sha256
    return [sha256(b"\x00" + line).digest() for line in lines]
