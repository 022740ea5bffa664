"""When a start refuses: what is wrong, and, on the operator's word, a new log beside the old one in quarantine.

The old log is never continued: its key has signed for records that are gone or altered, and a log that contradicts its
own checkpoint convinces nobody. The new log's `recovery_gap` says which one was given up, and how much was signed for.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from router.audit import recovery
from router.audit.errors import LedgerError
from router.audit.format import layout
from router.audit.format.notes import parse_checkpoint
from router.audit.format.seal import parse_public
from router.audit.format.segments import list_segments, read_small
from router.audit.home import open_home, sync_directory
from router.audit.kinds import Kind
from router.audit.ledger import Ledger
from router.audit.lock import take_lock
from router.audit.settings import LedgerSettings

_STAYS: Final = frozenset(
    {layout.LOCK, layout.RESERVE, layout.REVIEWER_PUBLIC, layout.REVIEWER_SECRET, layout.QUARANTINE}
)
_WAIT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`trouble`: why a start refuses, "" if it does not. `log`, `signed`: which log, how long; as far as known."""

    trouble: str
    log: str = ""
    signed: int = 0
    left: int = 0  # records up to the first that is not as it must be


def diagnose(directory: Path) -> Diagnosis:
    """Nothing is touched; a service that starts meanwhile waits. LedgerError: another process writes there, or it
    cannot be read at all.
    """
    lock = take_lock(directory / layout.LOCK, wait_s=0.0)
    try:
        _check_reviewer(directory)
        return _diagnose(directory, lock)
    finally:
        os.close(lock)


def _diagnose(directory: Path, lock: int) -> Diagnosis:
    log, signed = _stated(directory)
    try:
        home = open_home(directory, "", make_keys=False, lock=os.dup(lock))
    except LedgerError as error:
        return Diagnosis(str(error), log, signed)
    try:
        recovery.inspect(home)
    except LedgerError as error:
        return Diagnosis(str(error), log, signed, records_left(directory, home.log))
    finally:
        home.close()
    return Diagnosis("", log, signed)


def _check_reviewer(directory: Path) -> None:
    """A new log would not help against this."""
    path = directory / layout.REVIEWER_PUBLIC
    try:
        parse_public(read_small(path, links=True).decode())
    except (OSError, ValueError) as error:
        told = f"put the reviewer's public key back into {path}, or remove the file for a new pair to be made"
        raise LedgerError(f"{path}: {error}: {told}") from None


def _stated(directory: Path) -> tuple[str, int]:
    """What the checkpoint file says; it may be anybody's."""
    try:
        text = read_small(directory / layout.CHECKPOINT, links=True).decode().partition("\n\n")[0] + "\n"
        checkpoint = parse_checkpoint(text)
        return layout.log_of(checkpoint.origin), checkpoint.size
    except (OSError, ValueError):
        return "", 0


def records_left(directory: Path, log: str) -> int:
    """How many records there are before the first that is missing or has another form or link."""
    end = 0
    try:
        for first, path in list_segments(directory):
            if first not in (0, end) and end:
                return end
            segment = recovery.read_segment(log, path, first)
            end = segment.end
    except (OSError, ValueError):
        return end
    return end


def recover(settings: LedgerSettings, found: Diagnosis, reason: str, lock: int) -> Path:
    """Set the old log aside, begin a new one that says so; where the old one lies now. LedgerError.

    Whoever has the `lock` keeps it until whatever else knows of the old log was told: nobody begins in between.
    """
    try:
        aside = _set_aside(settings.directory, found)
    except OSError as error:
        raise LedgerError(f"the old log could not be set aside: {error}") from error
    _tell(settings, {"reason": reason, "lost_from": found.left, "quarantine": aside.name}, found, lock)
    return aside


def go_on_without(settings: LedgerSettings, missing: Diagnosis, reason: str, lock: int) -> None:
    """A log that is not there any more: what lies in its place, or a new one, says so. LedgerError. `lock` as above."""
    _tell(settings, {"reason": reason, "lost_from": 0}, missing, lock)


def _tell(settings: LedgerSettings, gap: dict[str, object], found: Diagnosis, lock: int) -> None:
    given_up = {"log": found.log} if found.log else {}
    ledger = Ledger.open(settings, os.dup(lock))
    try:
        ledger.append(Kind.RECOVERY_GAP, {"bytes": 0, "signed": found.signed, **gap, **given_up}).wait(_WAIT_S)
    finally:
        ledger.close()


def _set_aside(directory: Path, found: Diagnosis) -> Path:
    """Everything of the old log; the reviewer's keys stay. What was interrupted here can be done again."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    quarantine = directory / layout.QUARANTINE
    quarantine.mkdir(mode=0o700, exist_ok=True)
    aside = quarantine / f"{found.log or 'unknown'}-{moment}"
    aside.mkdir(mode=0o700)
    for path in sorted(directory.iterdir()):
        if path.name not in _STAYS:
            path.rename(aside / path.name)
    (directory / layout.SEGMENTS).mkdir(mode=0o700)
    for changed in (aside, quarantine, directory):
        sync_directory(changed)
    return aside
