"""Which log a ledger's directory must hold: its newest checkpoint, copied beside it at each start and stop.

So a ledger that was moved away, removed, put back from an old copy, or lies on a volume that is not mounted is missed,
and no new log begins in its place unnoticed. Whoever may write to both directories can remove both: that is seen with
a number from outside alone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from msgspec import Struct

KEPT: Final = "ledger-checkpoint"
_CHECKPOINT: Final = "checkpoint"  # C2SP tlog-checkpoint: origin, size, root, each a line
_VKEY: Final = "log.vkey"  # C2SP signed-note: the origin, `+`, a hash, `+`, the key
_SEGMENTS: Final = "segments"
_LONGEST: Final = 4096
_LOG: Final = re.compile(r"(\w[!-~]*/audit/[0-9a-f]{32})\n([0-9]{1,18})(?:\n|\Z)", re.ASCII)


class Known(Struct, frozen=True):
    """A log, and how many of its records were signed for at least."""

    origin: str
    signed: int

    @property
    def log(self) -> str:
        """The log's id."""
        return self.origin.rpartition("/")[2]

    @property
    def text(self) -> str:
        """As parse() reads it."""
        return f"{self.origin}\n{self.signed}\n"


class Lost(Struct, frozen=True):
    """Why no log may begin here. `here`: the right log, but an older state of it."""

    text: str
    known: Known
    here: bool = False


def run_directory(ledger: Path) -> Path:
    """Beside the ledger, by a name of our own: beside /ledger must not mean /run."""
    return ledger.with_name(f"{ledger.name}-run")


def stated(ledger: Path) -> Known | None:
    """What the ledger says of itself; None if it says nothing that can be read."""
    return parse(_first(ledger / _CHECKPOINT))


def kept(ledger: Path) -> Known | None:
    """What is known beside it."""
    return parse(_first(run_directory(ledger) / KEPT))


def parse(text: str) -> Known | None:
    """The first two lines of a checkpoint; None of what no ledger writes: it would stop every start, and be no log."""
    found = _LOG.match(text)
    return Known(found[1], int(found[2])) if found else None


def keep(ledger: Path, known: Known) -> None:
    """Durably, unless it is so already. OSError."""
    if kept(ledger) == known:
        return
    path = run_directory(ledger) / KEPT
    aside = path.with_name(f"{KEPT}.new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(known.text)
        file.flush()
        os.fsync(descriptor)
    aside.rename(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """A name that was changed in it is not lost with the power either."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lost(ledger: Path, known: Known | None) -> Lost | None:
    """Whether the log that is known is not the one that lies there. What lies there and is broken is not our affair."""
    if known is None:
        return None
    origin = _first(ledger / _VKEY).partition("+")[0].strip()
    if origin == known.origin:
        found = stated(ledger)
        older = found is not None and found.origin == origin and found.signed < known.signed
        what = f"an older state of it lies there, {found.signed if found else 0} records"
        return Lost(_told(ledger, known, what), known, here=True) if older else None
    if not origin and _has_records(ledger):
        return None  # the start refuses it by itself
    return Lost(_told(ledger, known, "another one lies there" if origin else "there is none"), known)


def _told(ledger: Path, known: Known, what: str) -> str:
    return (
        f"{ledger} does not hold the ledger that this service wrote there (log {known.log}, at least {known.signed} "
        f"records): {what}. If it was moved, or its volume is not mounted, put it back. To go on in a log that tells "
        f"of it: ringfence audit recover {ledger} --accept-loss --reason moved"
    )


def _has_records(ledger: Path) -> bool:
    """Or may have, as far as we may see."""
    try:
        return any((ledger / _SEGMENTS).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _first(path: Path) -> str:
    """The beginning of a small file; "" if there is none to be read."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(_LONGEST).decode("utf-8", "replace")
    except OSError:
        return ""
