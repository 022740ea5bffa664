"""A tier takes so many exchanges at once and lets so many wait; the rest are told to come back.

Callers take turns: who sends a hundred requests waits behind its own, not before everybody else's one. When the queue
is full, a caller with less waiting takes the newest place of the one with the most.
"""

from __future__ import annotations

import asyncio
from collections import deque

from msgspec import Struct

from router.channel.messages import Cause
from router.gate.connection import UpstreamFault

COME_BACK_S = 2.0


class Admitted(Struct, frozen=True):
    """`position` in the queue when it came, from 1, and how long it waited; 0 and 0.0: not at all."""

    position: int = 0
    waited_s: float = 0.0


AT_ONCE = Admitted()


class Admission:
    """Places in one tier."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self._free = concurrency
        self._most_waiting = queue
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by caller, the next one's first
        self.waiting = 0

    def take(self) -> bool:
        """Take a place if there is one now. (While any request waits there is none.)"""
        if self._free > 0:
            self._free -= 1
            return True
        return False

    async def enter(self, caller: str, timeout_s: float) -> Admitted:
        """Take a place, waiting if need be; UpstreamFault(BUSY) when the queue is full or the wait too long."""
        if self.take():
            return AT_ONCE
        self._make_room(caller)
        loop = asyncio.get_running_loop()
        place, began = loop.create_future(), loop.time()
        self._waiting.setdefault(caller, deque()).append(place)
        self.waiting += 1
        position = self._position(caller)
        try:
            async with asyncio.timeout(timeout_s):
                await place
        except BaseException as error:
            self._give_up(caller, place)
            if isinstance(error, TimeoutError):
                message = f"no place in the tier within {timeout_s:g} s"
                raise UpstreamFault(Cause.BUSY, message, COME_BACK_S) from None
            raise
        return Admitted(position, loop.time() - began)

    def leave(self) -> None:
        """Give the place to the next: callers in turn, each one's requests in the order they came."""
        while self._waiting:
            caller = next(iter(self._waiting))
            queue = self._waiting.pop(caller)
            place = queue.popleft()
            self.waiting -= 1
            if queue:
                self._waiting[caller] = queue  # behind the others
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _make_room(self, caller: str) -> None:
        """UpstreamFault(BUSY) when the queue is full, unless another has at least two more waiting than `caller`."""
        if self.waiting < self._most_waiting:
            return
        longest = max(self._waiting, key=lambda name: len(self._waiting[name]), default=caller)
        own = len(self._waiting.get(caller, ()))
        if len(self._waiting.get(longest, ())) < own + 2:
            raise UpstreamFault(Cause.BUSY, "the tier's queue is full", COME_BACK_S)
        newest = self._waiting[longest][-1]
        self._remove(longest, newest)
        if not newest.done():
            newest.set_exception(UpstreamFault(Cause.BUSY, "the tier's queue is full", COME_BACK_S))

    def _position(self, caller: str) -> int:
        """How many, itself among them, will have had a place when the newest of `caller` has: each caller in turn."""
        own = len(self._waiting[caller])
        return sum(min(len(queue), own) for queue in self._waiting.values())

    def _give_up(self, caller: str, place: asyncio.Future[None]) -> None:
        """Its waiter is gone: out of the queue with it, or on to the next if it was granted in the same moment."""
        if place.done() and not place.cancelled() and place.exception() is None:
            self.leave()
        else:
            self._remove(caller, place)

    def _remove(self, caller: str, place: asyncio.Future[None]) -> None:
        queue = self._waiting.get(caller)
        if queue is None or place not in queue:
            return
        queue.remove(place)
        self.waiting -= 1
        if not queue:
            del self._waiting[caller]
