"""A tier takes so many exchanges at once and lets so many wait, in order of arrival; the rest are told to come back."""

from __future__ import annotations

import asyncio
from collections import deque

from router.channel.messages import Cause
from router.gate.connection import UpstreamFault

COME_BACK_S = 2.0


class Admission:
    """Places in one tier."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self._free = concurrency
        self._most_waiting = queue
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self, timeout_s: float) -> None:
        """Take a place, waiting if need be; UpstreamFault(BUSY) when the queue is full or the wait too long."""
        if self._free > 0:
            self._free -= 1
            return
        if len(self._waiting) >= self._most_waiting:
            raise UpstreamFault(Cause.BUSY, "the tier's queue is full", COME_BACK_S)
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(timeout_s):
                await place
        except BaseException as error:
            self._give_up(place)
            if isinstance(error, TimeoutError):
                message = f"no place in the tier within {timeout_s:g} s"
                raise UpstreamFault(Cause.BUSY, message, COME_BACK_S) from None
            raise

    def leave(self) -> None:
        """Give the place to the longest waiting."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _give_up(self, place: asyncio.Future[None]) -> None:
        """Its waiter is gone: out of the queue with it, or on to the next if it was granted in the same moment."""
        if place.done() and not place.cancelled():
            self.leave()
        elif place in self._waiting:
            self._waiting.remove(place)
