"""Time that may pass: one deadline over the whole exchange, and a shorter patience for each wait in it.

`Patience` is for the waits that every exchange has, and a stream for every event: one timer serves them all.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from types import TracebackType

from router.channel.messages import Cause
from router.gate.connection import UpstreamFault


class Deadline:
    """`total_s` seconds from now."""

    def __init__(self, total_s: float, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = self._loop = loop
        self._total_s = total_s
        self._at = self._loop.time() + total_s

    @property
    def left_s(self) -> float:
        return max(0.0, self._at - self._loop.time())

    @property
    def past_s(self) -> float:
        """Seconds since the exchange began."""
        return self._total_s - self._at + self._loop.time()

    @property
    def at(self) -> float:
        """When it is over, by the loop's clock."""
        return self._at

    def over(self) -> UpstreamFault:
        return UpstreamFault(Cause.TOTAL_TIMEOUT, f"after {self._total_s:g} s")

    def within(self, seconds: float, cause: Cause) -> _Within:
        """A block that ends in UpstreamFault(cause) after `seconds`, or TOTAL_TIMEOUT at the deadline."""
        left = self.left_s
        if left <= seconds:
            return _Within(left, self.over())
        return _Within(seconds, UpstreamFault(cause, f"after {seconds:g} s"))


def _nobody(_: UpstreamFault) -> None:
    """Whoever waited is gone."""


class Patience:
    """Tells `lost` when a wait took longer than it may. The timer lives on between waits, and is moved."""

    __slots__ = ("_cause", "_deadline", "_due", "_loop", "_lost", "_rings_at", "_seconds", "_timer")

    def __init__(self, deadline: Deadline, lost: Callable[[UpstreamFault], None]) -> None:
        self._loop = deadline.loop
        self._deadline = deadline
        self._lost = lost
        self._due = self._rings_at = math.inf
        self._seconds = 0.0
        self._cause = Cause.TOTAL_TIMEOUT
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float, cause: Cause) -> None:
        """A wait begins: `lost` hears of it after `seconds`, or at the deadline."""
        self._seconds, self._cause = seconds, cause
        self._due = min(self._loop.time() + seconds, self._deadline.at)
        if self._due < self._rings_at:
            self._ring_at(self._due)

    def rest(self) -> None:
        """The wait is over in time."""
        self._due = math.inf

    def close(self) -> None:
        """No wait will follow; who was to be told is forgotten."""
        self._due = self._rings_at = math.inf
        self._lost = _nobody
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._rings_at, self._timer = math.inf, None
        if self._due > self._loop.time():
            if self._due < math.inf:
                self._ring_at(self._due)
        elif self._due >= self._deadline.at:
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
