"""What the exchanges of one worker have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from router.channel.link import Link
from router.gate.budget import Budget
from router.gate.clock import Clock
from router.gate.world import World

if TYPE_CHECKING:
    from router.gate.exchange import GateExchange


class Afterwards:
    """For what nobody waits for: it is done when all that was said in this pass of the loop has left."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._work: list[Callable[[], None]] = []

    def do(self, work: Callable[[], None]) -> None:
        """In the next pass, in the order of the calls."""
        if not self._work:
            self._loop.call_soon(self._do_all)
        self._work.append(work)

    def _do_all(self) -> None:
        """What one of them raises is a mistake of ours, and no other's."""
        all_work, self._work = self._work, []
        for work in all_work:
            try:
                work()
            except Exception as mistake:  # noqa: BLE001 - nobody above us could do more
                self._loop.call_exception_handler({"message": "an exchange ended by a mistake", "exception": mistake})


class Front(Struct):
    """What is in force now; an exchange may have begun in the one before. The gate alone swaps it."""

    world: World


class Desk(Struct, frozen=True):
    """One worker's channel and exchanges; clock and budget are the whole gate's."""

    link: Link
    clock: Clock
    bodies: Budget
    afterwards: Afterwards
    on_over: Callable[[], None]
    front: Front
    under_way: dict[int, GateExchange]  # by their numbers in the channel

    def over(self, number: int) -> None:
        """One of them, by its number."""
        under_way = self.under_way
        under_way.pop(number, None)
        if not under_way or self.front.world.chooses:
            self.on_over()
