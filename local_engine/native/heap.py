"""What was in memory before is not to be seen in a picture.

stb_image takes the planes of a JPEG from malloc(3) as they are, and where the file holds less than it says (no scan, a
restart marker that is missing) it leaves parts of them unwritten: there the picture would show what somebody else's
request left behind. GNU's allocator overwrites what it gives out while M_PERTURB is set (mallopt(3)), but for blocks
of its thread caches, which have at most 1032 bytes: `pictures.bounds` refuses a JPEG with planes that small.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

M_PERTURB = -6
"""mallopt(3)"""
BYTE = 0x7F


class Heap:
    """Of this process. While it is overwritten for one thread it is for all, so one at a time may ask for it."""

    def __init__(self) -> None:
        self._mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        self._turn = threading.Lock()

    @property
    def overwrites(self) -> bool:
        """False where the C library is not GNU's."""
        return self._mallopt is not None

    @contextmanager
    def overwritten(self) -> Iterator[None]:
        """Within it no new block holds what was there before."""
        with self._turn:
            self._set(BYTE)
            try:
                yield
            finally:
                self._set(0)

    def _set(self, byte: int) -> None:
        if self._mallopt is not None:
            self._mallopt(M_PERTURB, byte)
