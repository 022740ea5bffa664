"""`ringfence audit anchor --to` beside a running service: the gate asks the witness: it alone dials and records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from router.channel.control import Message, Word
from router.supervisor.orders import Told

ANSWERED_WITHIN_S: Final = 60.0


class Anchoring:
    """Asks the gate, and passes on what it says."""

    def __init__(self, tell_gate: Callable[[Message], None]) -> None:
        self._tell_gate = tell_gate
        self._last = 0
        self._waiting: dict[str, asyncio.Future[str]] = {}

    async def ask(self, witness: str) -> Told:
        """An AnchorTold as JSON; not good where no answer came."""
        self._last += 1
        number = str(self._last)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._tell_gate(Message(Word.ANCHOR, name=number, text=witness))
        try:
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                return Told(good=True, text=await answer)
        except TimeoutError:
            return Told(good=False, text="the gate has not said what came of it: see the log, and the ledger's records")
        finally:
            del self._waiting[number]

    def heard(self, message: Message) -> None:
        answer = self._waiting.get(message.name)
        if answer is not None and not answer.done():
            answer.set_result(message.text)
