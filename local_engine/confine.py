"""What the engine denies itself, whoever started it: memory without end, a core dump, a look into its memory."""

from __future__ import annotations

import ctypes
import resource
import sys

from local_engine.memory import Need

PR_SET_DUMPABLE = 4
"""prctl(2)"""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""mallopt(3)"""
LARGE = 256 << 10
"""Bytes from which a block is mapped on its own: the scores of one token have more, Python's objects fewer."""
SLACK = 1 << 30
"""Stacks of threads, Python, the embedding context, fragments: address space more than memory."""


def shut_memory() -> None:
    """No core dump, and no other program of this user reads prompts out of this process (ptrace, /proc/PID/mem).

    execve(2) opens the memory again, so a launcher's own seal does not last: the engine shuts it itself.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def keep_heap_small() -> bool:
    """Give memory back when it is free. False where the C library is not GNU's. Before the first thread starts.

    GNU's allocator makes a heap for each thread, and learns from the first large block that is freed to keep all of
    that size. The candidates of a token are such blocks, one set for each request: between smaller ones that live
    longer they left holes, and the engine thread's heap grew by some megabytes with every thousand requests.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((M_ARENA_MAX, 1), (M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, LARGE))
    taken = [mallopt(option, value) == 1 for option, value in wanted]
    return all(taken)


def limit_memory(need: Need, asked: int = 0) -> int:
    """Bytes of memory of its own (RLIMIT_DATA: not the mapped model file) that this process may have from now on.

    Without `asked`, twice what was computed and some slack: what grows beyond that is a fault, and shall end this
    process instead of the machine. A limit that is in force already is never raised.
    """
    wanted = asked or 2 * need.total + SLACK
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return limit
