"""Time that may pass: one deadline over the whole exchange, and a shorter patience for each wait in it.

`Patience` is for the waits that every exchange has, and a stream for every event: the clock of all exchanges rings it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from types import TracebackType

from router.channel.messages import Cause
from router.gate.clock import Clock
from router.gate.connection import UpstreamFault

_TOTAL_TIMEOUT = Cause.TOTAL_TIMEOUT  # found in its class, it would cost three calls


class Deadline:
    """`total_s` seconds from now."""

    __slots__ = ("at", "clock", "total_s")

    def __init__(self, total_s: float, clock: Clock) -> None:
        self.clock = clock
        self.total_s = total_s
        self.at = clock.now() + total_s  # when it is over, by the clock

    @property
    def left_s(self) -> float:
        return max(0.0, self.at - self.clock.now())

    @property
    def past_s(self) -> float:
        """Seconds since the exchange began."""
        return self.total_s - self.at + self.clock.now()

    def over(self) -> UpstreamFault:
        return UpstreamFault(Cause.TOTAL_TIMEOUT, f"after {self.total_s:g} s")

    def within(self, seconds: float, cause: Cause) -> _Within:
        """A block, in a task, that ends in UpstreamFault(cause) after `seconds`, or TOTAL_TIMEOUT at the deadline."""
        left = self.left_s
        if left <= seconds:
            return _Within(left, self.over())
        return _Within(seconds, UpstreamFault(cause, f"after {seconds:g} s"))


def _nobody(_: UpstreamFault) -> None:
    """Whoever waited is gone."""


class Patience:
    """Tells `lost` when a wait took longer than it may. Its place at the clock lives on between waits, and is moved."""

    __slots__ = ("_cause", "_clock", "_deadline", "_due", "_left", "_lost", "_rings_at", "_seconds", "_tick")

    def __init__(self, deadline: Deadline, lost: Callable[[UpstreamFault], None]) -> None:
        self._clock = deadline.clock
        self._deadline = deadline
        self._lost = lost
        self._due = self._rings_at = math.inf
        self._seconds = 0.0
        self._left = -1.0  # of a wait that is held; none is
        self._cause = _TOTAL_TIMEOUT
        self._tick = 0

    def begin(self, seconds: float, cause: Cause) -> None:
        """A wait begins: `lost` hears of it after `seconds`, or at the deadline."""
        self._seconds, self._cause, self._left = seconds, cause, -1.0
        due, at = self._clock.now() + seconds, self._deadline.at
        self._due = due = min(at, due)
        if due < self._rings_at:
            self._ring_at(due)

    def again(self) -> None:
        """The wait that is under way begins anew: it is over later than the clock will ring, and `ring` sees to it."""
        self._due = self._clock.now() + self._seconds

    def hold(self) -> None:
        """The wait is for ourselves now: until `go_on`, only the deadline counts."""
        if self._left < 0:
            self._left = max(0.0, self._due - self._clock.now())
            self._wait(math.inf)

    def go_on(self) -> None:
        """With what was left of the wait that was held, if one was."""
        if self._left >= 0:
            left, self._left = self._left, -1.0
            self._wait(left)

    def _wait(self, seconds: float) -> None:
        self._due = min(self._clock.now() + seconds, self._deadline.at)
        if self._due < self._rings_at:
            self._ring_at(self._due)

    def close(self) -> None:
        """No wait will follow; who was to be told is forgotten."""
        self._due = self._rings_at = math.inf
        self._lost = _nobody
        if self._tick:
            self._clock.remove(self, self._tick)

    def _ring_at(self, when: float) -> None:
        if self._tick:
            self._clock.remove(self, self._tick)
        self._rings_at = when
        self._tick = self._clock.add(self, when)

    def ring(self) -> None:
        """By the clock, at the time it was asked to; the wait may have been put off since."""
        self._rings_at = math.inf
        due = min(self._due, self._deadline.at)
        if self._due == math.inf:
            return  # closed by who was rung just before
        if due > self._clock.now():
            self._ring_at(due)
        elif due >= self._deadline.at:
            self._lost(self._deadline.over())
        else:
            self._lost(UpstreamFault(self._cause, f"after {self._seconds:g} s"))


class _Within:
    __slots__ = ("_fault", "_timeout")

    def __init__(self, seconds: float, fault: UpstreamFault) -> None:
        self._timeout = asyncio.timeout(seconds)
        self._fault = fault

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise self._fault from None
