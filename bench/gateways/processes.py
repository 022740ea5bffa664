"""Processes under measurement: where they run, and what the whole tree of one costs. Figures are the kernel's."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process tree has used: CPU seconds (user + system, children that ended included), resident bytes."""

    cpu_s: float
    rss_bytes: int
    processes: int


def cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def start(
    command: Sequence[str | Path],
    directory: Path,
    log: Path,
    *,
    on: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, pinned to the cores `on` (none given: all), its output in `log`."""
    pinned = [] if not on else ["taskset", "-c", ",".join(str(core) for core in on)]
    given = {"PATH": os.defpath + ":/usr/sbin:/usr/local/bin", "HOME": str(directory), "LANG": "C.UTF-8"}
    with log.open("ab") as output:
        return subprocess.Popen(
            [*pinned, *command],
            cwd=directory,
            env=given if environment is None else {**given, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def tree(pid: int) -> list[int]:
    """The process and all its descendants, by /proc."""
    found = [pid]
    for task in _tasks(pid):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            found += tree(int(child))
    return found


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def usage(pid: int) -> Usage:
    """What the tree has used up to now. proc_pid_stat(5): fields 14-17 (utime, stime, cutime, cstime), 24 (rss)."""
    cpu, rss, many = 0.0, 0, 0
    for member in tree(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        cpu += sum(int(field) for field in fields[11:15]) * TICK_S
        rss += int(fields[21]) * PAGE
        many += 1
    return Usage(cpu, rss, many)


def shares(pid: int) -> dict[str, float]:
    """CPU seconds of each process of the tree, by its command line's telling words: where the time goes."""
    found: dict[str, float] = {}
    for member in tree(pid):
        try:
            words = Path(f"/proc/{member}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        name = next((word for word in words if word.startswith(("router.", "local_engine"))), Path(words[0]).name)
        found[name] = found.get(name, 0.0) + sum(int(field) for field in fields[11:13]) * TICK_S
    return found


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the program and what it started."""
    members = tree(process.pid)
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for member in members[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)


def wait_for(true: Callable[[], object], seconds: float, what: str) -> float:
    """Poll; the seconds it took. TimeoutError names what did not come."""
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.005)
    return time.monotonic() - began
