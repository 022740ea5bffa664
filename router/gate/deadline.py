"""Time that may pass: one deadline over the whole exchange, and a shorter patience for each wait in it."""

from __future__ import annotations

import asyncio
from types import TracebackType

from router.channel.messages import Cause
from router.gate.connection import UpstreamFault


class Deadline:
    """`total_s` seconds from now."""

    def __init__(self, total_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._total_s = total_s
        self._at = self._loop.time() + total_s

    @property
    def left_s(self) -> float:
        return max(0.0, self._at - self._loop.time())

    def within(self, seconds: float, cause: Cause) -> _Within:
        """A block that ends in UpstreamFault(cause) after `seconds`, or TOTAL_TIMEOUT at the deadline."""
        left = self.left_s
        if left <= seconds:
            return _Within(left, UpstreamFault(Cause.TOTAL_TIMEOUT, f"after {self._total_s:g} s"))
        return _Within(seconds, UpstreamFault(cause, f"after {seconds:g} s"))


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
