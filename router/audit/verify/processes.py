"""A process for each core, a segment for each process at a time: the verification for who waits."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from router.audit.format.segments import list_segments
from router.audit.verify.check import verify
from router.audit.verify.findings import Report
from router.audit.verify.keys import Keys
from router.audit.verify.lines import Codec
from router.audit.verify.parts import Part, Task, examine, verify_parts

FORK: Final = "fork"
ENDED_S: Final = 5.0  # at most, for the pool's own threads: one still under way as we end would print what it fails at
_WANT: Final = (BrokenProcessPool, OSError, MemoryError, NotImplementedError)  # the last: no semaphores here


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def verify_with(directory: Path, keys: Keys, codec: Codec, jobs: int) -> Report:
    """verify() in so many processes, if there are segments for more than one and the system can fork."""
    jobs = min(jobs, _segments(directory))
    if jobs < 2 or FORK not in multiprocessing.get_all_start_methods():
        return verify(directory, keys, codec)
    return _in_parts(directory, keys, codec, jobs) or verify(directory, keys, codec)


def _in_parts(directory: Path, keys: Keys, codec: Codec, jobs: int) -> Report | None:
    """None too if a process was killed, for want of memory perhaps, or could not be begun, or files have no place."""
    with contextlib.suppress(*_WANT), _told_to_end(), _scratch() as scratch, _pool(jobs) as pool:
        return verify_parts(directory, keys, codec, partial(_in_processes, pool, 2 * jobs), scratch)
    return None


@contextlib.contextmanager
def _told_to_end() -> Iterator[None]:
    """SIGTERM, as a job's time limit sends it, leaves no folder behind either. Where somebody hears it already, or we
    are no first thread, all stays as it is.
    """

    def end(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)  # as a shell says it

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not ours:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder of our own; hashes of records, no content. It ends after those who write there."""
    with tempfile.TemporaryDirectory(prefix="ringfence-verify-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Where it is left by an error or an interruption, nobody waits for what its processes still do."""
    before, threads = set(multiprocessing.active_children()), set(threading.enumerate())
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context(FORK), _begin)
    try:
        yield pool
    except BaseException:
        ours = set(multiprocessing.active_children()) - before
        for process in ours:  # of those begun before one that could not be, nobody tells any to end
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in ours:
            process.join()
        for thread in set(threading.enumerate()) - threads:
            thread.join(ENDED_S)
        raise
    pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Ctrl-C reaches all processes of a terminal: these end at once and say nothing, so nobody waits for them. They
    also end when the first is killed: whoever waits for tasks would not hear of it.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(RuntimeError):  # no more threads
        threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


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
