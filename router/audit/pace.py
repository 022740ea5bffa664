"""Whether a thread that has other work may wait for the disk itself, instead of asking the writer's: pure.

The way there and back, a wake-up of each thread and the interpreter handed over twice, costs as much as a quick disk's
sync. A disk that is slow once costs one wait; whoever appends waits for it no more until it has been quick for long.
"""

from __future__ import annotations

from typing import Final

QUICK_S: Final = 0.002  # a write and its sync
IN_A_ROW: Final = 16  # that were quick, before it is believed
FEW: Final = 4  # lines: with more there is other work, with which the writer's wait for the disk overlaps


class Pace:
    """How the disk was of late."""

    __slots__ = ("_quick",)

    def __init__(self) -> None:
        self._quick = 0

    def took(self, seconds: float) -> None:
        """One batch."""
        self._quick = self._quick + 1 if seconds <= QUICK_S else 0

    @property
    def quick(self) -> bool:
        return self._quick >= IN_A_ROW
