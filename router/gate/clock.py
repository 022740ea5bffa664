"""One timer for the waits of all exchanges: a wait costs an entry in a set, not a timer of the loop.

Whoever waits is rung when its time is over, at most TICK_S (and the loop's own delay) late, and never early.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

TICK_S = 0.05


class Sleeper(Protocol):
    """Somebody who wants to be rung."""

    def ring(self) -> None: ...


class Clock:
    """Sleepers by the tick at which they are rung. While there is none, no timer runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = loop.time  # seconds; a call, as of the loop
        self._loop = loop
        self._ticks: dict[int, set[Sleeper]] = {}
        self._passed = 0  # ticks up to here are over
        self._runs = False

    def add(self, sleeper: Sleeper, due: float) -> int:
        """Ring it once `due` has passed; the tick, for `remove`."""
        if not self._runs:
            self._runs, self._passed = True, int(self.now() / TICK_S)
            self._loop.call_later(TICK_S, self._turn)
        tick = max(int(due / TICK_S), self._passed) + 1
        sleepers = self._ticks.get(tick)
        if sleepers is None:
            self._ticks[tick] = {sleeper}
        else:
            sleepers.add(sleeper)
        return tick

    def remove(self, sleeper: Sleeper, tick: int) -> None:
        """It is not rung, if it has not been yet."""
        sleepers = self._ticks.get(tick)
        if sleepers is None:
            return
        sleepers.discard(sleeper)
        if not sleepers:
            del self._ticks[tick]

    def _turn(self) -> None:
        before, self._passed = self._passed, int(self.now() / TICK_S)
        due = [self._ticks.pop(tick, ()) for tick in range(before + 1, self._passed + 1)]
        self._runs = bool(self._ticks)
        if self._runs:
            self._loop.call_later(TICK_S, self._turn)
        for sleepers in due:
            for sleeper in tuple(sleepers):
                sleeper.ring()
