"""Where everything lies in a ledger's directory. Paths only; nothing here touches the disk.

log.vkey       the log's name and public key (C2SP vkey)    checkpoint   the newest signed checkpoint
signing.key    its private key, 0600                        segments/    the records
reviewer.pub   whom the epoch keys are sealed to            tile/        hashes (C2SP tlog-tiles)
log-mldsa.vkey, signing-mldsa.key: a second, post-quantum pair, if it is wanted
reviewer.key   only until the reviewer takes it away        quarantine/  torn bytes, kept for the reviewer
lock, reserve  one writer; space for the last words on a full disk
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

VKEY: Final = "log.vkey"
COSIGNER_VKEY: Final = "log-mldsa.vkey"
COSIGNER_KEY: Final = "signing-mldsa.key"
SIGNING_KEY: Final = "signing.key"
REVIEWER_PUBLIC: Final = "reviewer.pub"
REVIEWER_SECRET: Final = "reviewer.key"  # noqa: S105 - a file name
CHECKPOINT: Final = "checkpoint"
LOCK: Final = "lock"
RESERVE: Final = "reserve"
SEGMENTS: Final = "segments"
QUARANTINE: Final = "quarantine"
TILES: Final = "tile"
TILE_WIDTH: Final = 256


def origin(log_name: str, log: str) -> str:
    return f"{log_name}/audit/{log}"


def log_of(origin_text: str) -> str:
    """The log's id: the last part of its origin, 32 hexadecimal digits; ValueError otherwise."""
    log = origin_text.rpartition("/")[2]
    if len(log) != 32 or bytes.fromhex(log).hex() != log:
        raise ValueError(f"not a ledger's origin: {origin_text!r}")
    return log


def segment_name(first: int) -> str:
    """A segment is named by the index of its first record."""
    return f"{first:020d}.jsonl"


def segment_first(name: str) -> int | None:
    """The index in a segment's name; None if it is no segment's."""
    stem, dot, ending = name.partition(".")
    return int(stem) if dot and ending == "jsonl" and len(stem) == 20 and stem.isascii() and stem.isdigit() else None


def torn_name(end: int, size: int | str) -> str:
    """The quarantine file of bytes that followed the last good record, when the ledger had `end` records."""
    return f"{end:020d}-{size}.torn"


def tile_path(level: int, number: int, width: int = TILE_WIDTH) -> Path:
    """C2SP tlog-tiles: tile/<level>/x001/x234/067, and .p/<width> for one that is not full."""
    groups = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        groups.insert(0, f"x{number % 1000:03d}")
    path = Path(TILES, str(level), *groups)
    return path if width == TILE_WIDTH else path.with_name(f"{path.name}.p") / str(width)
