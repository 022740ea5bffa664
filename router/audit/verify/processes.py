"""A process for each core, a segment for each process at a time: the verification for who waits."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Final

from router.audit.format.segments import list_segments
from router.audit.verify.check import verify
from router.audit.verify.findings import Report
from router.audit.verify.keys import Keys
from router.audit.verify.lines import Codec
from router.audit.verify.parts import Part, Task, examine, verify_parts

FORK: Final = "fork"


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def verify_with(directory: Path, keys: Keys, codec: Codec, jobs: int) -> Report:
    """verify() in so many processes, if there are segments for more than one and the system can fork."""
    jobs = min(jobs, _segments(directory))
    if jobs < 2 or FORK not in multiprocessing.get_all_start_methods():
        return verify(directory, keys, codec)
    report = None
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context(FORK), _die_of_interrupts)
    try:
        with contextlib.suppress(BrokenProcessPool):  # one was killed, for want of memory perhaps
            report = verify_parts(directory, keys, codec, partial(_in_processes, pool, 2 * jobs))
    finally:
        pool.shutdown(cancel_futures=True)
    return report or verify(directory, keys, codec)


def _die_of_interrupts() -> None:
    """Ctrl-C reaches all processes of a terminal: these end at once and say nothing, so nobody waits for them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _segments(directory: Path) -> int:
    try:
        return len(list_segments(directory))
    except OSError:
        return 0  # verify() tells of it


def _in_processes(pool: ProcessPoolExecutor, most: int, tasks: Iterable[Task]) -> Iterator[Part | None]:
    """In the order of the tasks; no more than `most` are under way or wait to be joined, so memory is bounded."""
    under_way: deque[Future[Part | None]] = deque()
    for task in tasks:
        under_way.append(pool.submit(examine, task))
        if len(under_way) == most:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()
