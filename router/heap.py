"""What the C library's allocator keeps of the memory that bodies leave, in the processes that serve."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD = -1
"""mallopt(3)"""
M_MMAP_THRESHOLD = -3
KEPT = 4 * 1024 * 1024
"""Bytes that are free at the heap's end before they are given back."""
LARGE = 2 * 1024 * 1024
"""Bytes from which on a block is a mapping of its own, and goes back as soon as it is free."""


def keep_heap() -> bool:
    """Some bodies' worth of free memory is kept. False where the C library is not GNU's.

    As it comes, GNU's allocator gives back whatever exceeds half a megabyte, and the kernel has to clear every page
    again for the next bodies: a fault for each 4 KiB of them. Once a block of some megabytes was freed, it keeps twice
    that for good. Both ends are closed here.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((M_TRIM_THRESHOLD, KEPT), (M_MMAP_THRESHOLD, LARGE))
    taken = [mallopt(option, value) == 1 for option, value in wanted]
    return all(taken)
