"""`ringfence audit anchor --to` beside a running service: the gate asks the witness: it alone dials and records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from router.channel.control import Message, Word
from router.supervisor.orders import Told

ANSWERED_WITHIN_S: Final = 60.0
_SEE: Final = "see the log, and the ledger's records"


class Anchoring:
    """Asks the gate, and passes on what it says."""

    def __init__(self, tell_gate: Callable[[Message], None]) -> None:
        self._tell_gate = tell_gate
        self._last = 0
        self._waiting: dict[str, asyncio.Future[Told]] = {}

    async def ask(self, witness: str) -> Told:
        """An AnchorTold as JSON; not good where no answer came."""
        self._last += 1
        number = str(self._last)
        answer: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._tell_gate(Message(Word.ANCHOR, name=number, text=witness))
        try:
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                return await answer
        except TimeoutError:
            return Told(good=False, text=f"the gate has not said what came of it: {_SEE}")
        finally:
            del self._waiting[number]

    def heard(self, message: Message) -> None:
        if message.name in self._waiting:
            self._end(message.name, Told(good=True, text=message.text))

    def begun(self) -> None:
        """Another gate knows of no question."""
        for number in self._waiting:
            self._end(number, Told(good=False, text=f"the gate ended before it said what came of it: {_SEE}"))

    def _end(self, number: str, told: Told) -> None:
        if not self._waiting[number].done():
            self._waiting[number].set_result(told)
