"""Weights in pages of 2 MiB instead of 4 KiB.

Each token of an answer reads every weight once, in order: in small pages the processor looks up 25,000 of them for a
model of 100 MB, and its prefetching stops at every border. It shows with few sequences: of sixteen tokens at once, each
weight that was looked up serves all (`bench/engine.py`: processor time per token, beside llama-server's, which maps
the file).

Linux gathers small pages into large ones when it is asked to (madvise(2): MADV_HUGEPAGE in its own time, MADV_COLLAPSE
at once), but for memory of the process' own only: a mapped file stays as it is in the page cache.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
from collections.abc import Iterable
from pathlib import Path

PAGE = 2 << 20
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25
"""madvise(2); Python's mmap has no name for the second."""

MAPS = Path("/proc/self/maps")

Region = tuple[int, int]
"""From which address up to which."""

log = logging.getLogger("local_engine")


def work() -> bool:
    """Whether this kernel gathers pages when asked (Linux 6.1 and later, with transparent huge pages): by trying it."""
    try:
        with mmap.mmap(-1, 2 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as trial:
            trial.write(bytes(len(trial)))
            trial.madvise(MADV_COLLAPSE)
    except OSError:
        return False
    return MAPS.exists()


def own_memory() -> list[Region]:
    """Where this process has writable memory that is of no file, in order. Empty where the kernel does not tell."""
    try:
        return list(_private(MAPS.read_text(encoding="utf-8", errors="replace").splitlines()))
    except OSError:
        return []


def _private(lines: Iterable[str]) -> Iterable[Region]:
    """proc_pid_maps(5): addresses, permissions, offset, device, inode, and a name unless it is nobody's."""
    for line in lines:
        fields = line.split()
        if len(fields) == 5 and fields[1].startswith("rw"):
            start, end = fields[0].split("-")
            yield int(start, 16), int(end, 16)


def added(before: Iterable[Region], after: Iterable[Region]) -> list[Region]:
    """What `after` has and `before` had not. The kernel joins neighbours: a new region may be part of one."""
    found = list(after)
    for start, end in before:
        found = [piece for region in found for piece in _without(region, start, end)]
    return found


def _without(region: Region, start: int, end: int) -> list[Region]:
    first, last = region
    pieces = ((first, min(last, start)), (max(first, end), last))
    return [piece for piece in pieces if piece[0] < piece[1]] if start < last and end > first else [region]


def blocks(regions: Iterable[Region]) -> list[int]:
    """The addresses of the whole large pages in these regions."""
    return [block for start, end in regions for block in range(-(-start // PAGE) * PAGE, end - PAGE + 1, PAGE)]


class HugePages:
    """Memory to be gathered, a page at a time, by whoever has a moment. Drop it before that memory is given back."""

    def __init__(self, regions: Iterable[Region] = ()) -> None:
        self._left = blocks(regions)
        self._all = len(self._left)
        self._gathered = 0
        self._madvise = ctypes.CDLL(None).madvise
        for block in self._left:
            self._advise(block, MADV_HUGEPAGE)  # an engine that is never idle: the kernel does it, in some minutes

    def gather_one(self) -> bool:
        """Takes a millisecond or two. False when nothing is left to do."""
        if not self._left:
            return False
        self._gathered += self._advise(self._left.pop(), MADV_COLLAPSE)
        if not self._left:
            log.debug("%d of %d MiB of weights lie in huge pages", self._gathered * 2, self._all * 2)
        return True

    def _advise(self, block: int, advice: int) -> bool:
        """Memory too much in pieces is no fault: what cannot be gathered stays as it is."""
        return not self._madvise(ctypes.c_void_p(block), ctypes.c_size_t(PAGE), advice)
