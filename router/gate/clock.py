"""One timer for the waits of all exchanges: a wait costs an entry in a set, not a timer of the loop.

Whoever waits is rung when its time is over, at most TICK_S (and the loop's own delay) late, and never early. The timer
does not tick: where each exchange is over long before its time is, the loop is woken for none of them.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Protocol

TICK_S = 0.05
LOOP_S = 0.002  # by which a loop's timers, in milliseconds, may ring early
NEVER = sys.maxsize


class Sleeper(Protocol):
    """Somebody who wants to be rung."""

    def ring(self) -> None: ...


class Clock:
    """Sleepers by the tick at which they are rung. The timer is set for the first of them, or not at all."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = loop.time  # seconds; a call, as of the loop
        self._loop = loop
        self._ticks: dict[int, set[Sleeper]] = {}
        self._next = NEVER  # the tick that the timer is set for
        self._timer: asyncio.TimerHandle | None = None

    def add(self, sleeper: Sleeper, due: float) -> int:
        """Ring it once `due` has passed; the tick, for `remove`."""
        tick = int(due / TICK_S) + 1
        sleepers = self._ticks.get(tick)
        if sleepers is None:
            self._ticks[tick] = {sleeper}
            if tick < self._next:
                self._set(tick)
        else:
            sleepers.add(sleeper)
        return tick

    def remove(self, sleeper: Sleeper, tick: int) -> None:
        """It is not rung, if it has not been yet. The timer stays: whoever comes next most likely waits for longer."""
        sleepers = self._ticks.get(tick)
        if sleepers is None:
            return
        sleepers.discard(sleeper)
        if not sleepers:
            del self._ticks[tick]

    def _set(self, tick: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = tick
        self._timer = self._loop.call_later(max(0.0, tick * TICK_S - self.now()) + LOOP_S, self._turn)

    def _turn(self) -> None:
        self._timer, self._next = None, NEVER
        passed = int(self.now() / TICK_S)
        due = [self._ticks.pop(tick) for tick in sorted(self._ticks) if tick <= passed]
        if self._ticks:
            self._set(min(self._ticks))
        for sleepers in due:
            for sleeper in tuple(sleepers):
                try:
                    sleeper.ring()
                except Exception as mistake:  # noqa: BLE001 - of ours; the others are rung all the same
                    told = {"message": "an exchange's time was over", "exception": mistake}
                    self._loop.call_exception_handler(told)
