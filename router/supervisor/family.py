"""A process and what it started: who is below it, and that nothing of them is left when it is over."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Final

from router.seal.machine import prctl

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36


def adopt() -> None:
    """From now on, what our descendants leave behind becomes our child, not init's (prctl(2))."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """To be killed when the parent ends; what is started later does not inherit it (prctl(2))."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """Of every thread of a process (proc_pid_task(5)); none of one that is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    """All processes below this one, parents first."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children(waiting.pop())
        found += below
        waiting += below
    return found


def parent(pid: int) -> int:
    """Of a process, a zombie too; 0 when it lies outside our PID namespace (proc_pid_status(5)). OSError: gone."""
    for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
        if line.startswith(b"PPid:"):
            return int(line.removeprefix(b"PPid:"))
    raise ProcessLookupError(pid)


def is_below(pid: int, ancestor: int) -> bool:
    """Is this process that one, or below it? OSError when the way up cannot be read to its end.

    Upwards, since nobody slips away from there: whoever loses its parent meanwhile has a new one that is below us too,
    or is us (`adopt`). A walk down misses those that move to where it has looked already.
    """
    while pid not in (ancestor, 0, 1):
        pid = parent(pid)
    return pid == ancestor


def tell(pid: int, number: signal.Signals) -> None:
    """A signal, if the process is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def reap(pid: int) -> None:
    """Collect a child that was adopted, if it has ended."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def marked(pid: int, mark: str) -> bool:
    """Was this process started with the mark in its environment (proc_pid_environ(5)), or by one that was?"""
    try:
        return mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
