"""What the exchanges of one worker have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router.channel.link import Link
from router.gate.budget import Budget
from router.gate.clock import Clock
from router.gate.steps import Wait

if TYPE_CHECKING:
    from router.gate.exchange import GateExchange
    from router.gate.world import World


class Afterwards:
    """For what nobody waits for: it is done when all that was said in this pass of the loop has left."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waits: list[Wait[None]] = []

    def wait(self) -> Wait[None]:
        """Ends in the next pass, in the order of the calls."""
        if not self._waits:
            self._loop.call_soon(self._end)
        wait: Wait[None] = Wait()
        self._waits.append(wait)
        return wait

    def _end(self) -> None:
        waits, self._waits = self._waits, []
        for wait in waits:
            wait.end()


@dataclass(slots=True)
class Front:
    """What is in force now; an exchange may have begun in the one before. The gate alone swaps it."""

    world: World


@dataclass(frozen=True, slots=True)
class Desk:
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
        self.under_way.pop(number, None)
        self.on_over()
