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
ROOMS = ("router.", "local_engine")  # our processes, by their modules


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process tree has used, by the telling word of each command line: CPU seconds, resident bytes."""

    cpu: Mapping[str, float]
    rss: Mapping[str, int]

    @property
    def cpu_s(self) -> float:
        return sum(self.cpu.values())

    @property
    def rss_bytes(self) -> int:
        return sum(self.rss.values())


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
    """What the tree has used up to now. CPU: each process's clock (clock_getcpuclockid(3)), with proc_pid_stat(5)'s
    cutime and cstime (fields 16, 17) for its children that ended; resident pages: field 24.
    """
    by_process: dict[str, float] = {}
    resident: dict[str, int] = {}
    for member in tree(pid):
        try:
            words = Path(f"/proc/{member}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            spent = time.clock_gettime(_clock_of(member))
        except OSError:
            continue
        name = next((word for word in words if word.startswith(ROOMS)), Path(words[0]).name or "kernel")
        ended = (int(fields[13]) + int(fields[14])) * TICK_S
        by_process[name] = by_process.get(name, 0.0) + spent + ended
        resident[name] = resident.get(name, 0) + int(fields[21]) * PAGE
    return Usage(by_process, resident)


def _clock_of(pid: int) -> int:
    """The id of a process's CPU clock: CPUCLOCK_SCHED of linux/posix-timers_types.h."""
    return (~pid << 3) | 2


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
