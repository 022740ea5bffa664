"""Whether the threads of a decode get the cores they spin on: processor time against the wall clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

WINDOW = 0.1
"""Seconds of decoding between two verdicts."""


class Contention:
    """Wrap each decode in `decoding`; `verdict` answers once enough was measured.

    The threads of a decode never sleep while it runs, so alone on the machine they use as many cores as there are
    threads. What is missing was taken by others. (This process's own other threads count as ours: they are small.)
    """

    def __init__(self) -> None:
        self._wall = self._processor = 0.0

    @contextmanager
    def decoding(self) -> Iterator[None]:
        wall, processor = time.monotonic(), time.process_time()
        yield
        self._wall += time.monotonic() - wall
        self._processor += time.process_time() - processor

    def verdict(self, threads: int, window: float = WINDOW) -> float | None:
        """Cores that were missing, on average over the window; None until it is full."""
        if self._wall < window:
            return None
        missing = threads - self._processor / self._wall
        self._wall = self._processor = 0.0
        return max(0.0, missing)
