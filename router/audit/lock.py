"""One writer: the lock of a ledger's directory. The kernel keeps it (flock(2)), so it ends with whoever has it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from router.audit.errors import LedgerError

WAIT_S: Final = 3.0
_LOOK_AGAIN_S: Final = 0.02


def take_lock(path: Path, wait_s: float = WAIT_S) -> int:
    """The lock's descriptor. Commands hold the lock for moments, so it is waited for; the number in the file is for
    people. LedgerError: another process has it still.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _take(descriptor, path, time.monotonic() + wait_s)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _take(descriptor: int, path: Path, until: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                raise LedgerError(_in_use(path.parent, holder or "unknown")) from None
            time.sleep(_LOOK_AGAIN_S)
        else:
            return


def _in_use(directory: Path, holder: str) -> str:
    return (
        f"{directory} is being written by process {holder}: one ledger has one writer. Stop that process (a command "
        "such as 'audit recover' ends by itself: start again then), or give this one another audit.directory."
    )


def is_taken(path: Path) -> bool:
    """Whether somebody has the lock, whoever and in whatever namespace. False too where there is none to be looked at.

    A shared lock tells, for the moment that this takes: whoever comes for the lock just then waits for it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    finally:
        os.close(descriptor)
    return False
