"""What an operator asks of the whole service through a worker: to do less. The supervisor judges it and answers.

A worker that lies can ask in an operator's name, and gets no more by it than what it could do alone: less service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from policies.narrowing import Unfit
from router.channel.control import Message, Word


class NarrowAsk(msgspec.Struct, frozen=True):
    """Take these upstreams away, and every reach beyond this one ("": as it is). `caller`: the operator's name."""

    without: tuple[str, ...]
    reach: str
    caller: str


class NarrowTold(msgspec.Struct, frozen=True):
    """How it ended: `unfit`, and nothing changed; or in force, and said; `text` is for the operator."""

    good: bool
    text: str
    unfit: Unfit | None = None


class NotTold(Exception):
    """No answer came in time: it may have been done, or not."""


class Steering:
    """A worker's way to ask, and to hear what came of it."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._last = 0
        self._waiting: dict[str, asyncio.Future[NarrowTold]] = {}

    async def narrow(self, ask: NarrowAsk, wait_s: float) -> NarrowTold:
        """NotTold when no answer comes in time."""
        self._last += 1
        number = str(self._last)
        answer: asyncio.Future[NarrowTold] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._send(Message(Word.NARROW, name=number, text=msgspec.json.encode(ask).decode()))
        try:
            async with asyncio.timeout(wait_s):
                return await answer
        except TimeoutError:
            raise NotTold from None
        finally:
            del self._waiting[number]

    def heard(self, message: Message) -> None:
        """The supervisor's answer; of one that nobody waits for any more, nothing."""
        answer = self._waiting.get(message.name)
        if answer is not None and not answer.done():
            answer.set_result(msgspec.json.decode(message.text, type=NarrowTold))


def asked(message: Message) -> NarrowAsk:
    """What a worker sent. msgspec.MsgspecError for anything else."""
    return msgspec.json.decode(message.text, type=NarrowAsk)


def told(number: str, answer: NarrowTold) -> Message:
    return Message(Word.NARROWED, name=number, text=msgspec.json.encode(answer).decode())
