"""Ask one upstream and pass its answer on to the worker, whole event by whole event, within the worker's credit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from policies import Decision
from router.channel.frames import PIECE, WINDOW, Kind
from router.channel.link import Link
from router.channel.messages import Cause, Failure, Head, Open, encode
from router.failures import failure_of
from router.gate.capturing import AnswerTap
from router.gate.connection import UpstreamConnection, UpstreamFault
from router.gate.deadline import Deadline, Patience
from router.gate.events import EventSplitter, EventTooLarge
from router.gate.pool import Pool
from router.gate.probe import is_cold
from router.gate.request import post
from router.settings.snapshot import Timeouts

COME_BACK_S = 2.0


class Relay:
    """One answer on its way. What was seen of it stays readable for the outcome, whatever happens."""

    def __init__(self, number: int, link: Link, message: Open, timeouts: Timeouts, deadline: Deadline) -> None:
        self._number = number
        self._link = link
        self._open = message
        self._timeouts = timeouts
        self._deadline = deadline
        self._credit = WINDOW
        self._granted: asyncio.Future[None] | None = None
        self._asked: UpstreamConnection | None = None
        self._patience = Patience(deadline, self._give_up)
        self.status = 0
        self.retry_after = ""  # as the upstream wrote it
        self.sent = 0  # a request that went out twice, because a kept connection was closed unread, counts twice
        self.asked_s = 0.0  # of deadline.left_s' clock, as first_byte_s: seconds left when the request was sent
        self.received = 0
        self.on_head: Callable[[], None] = lambda: None  # the request is held no longer
        self.tap: AnswerTap | None = None  # sealed capture, if this exchange has it
        self.caught: Decision | None = None  # the head of the answer gave away what this upstream is
        self.first_byte_s: float | None = None  # of deadline.left_s' clock: seconds left when it came

    def _give_up(self, fault: UpstreamFault) -> None:
        if self._asked is not None:
            self._asked.give_up(fault)

    @property
    def failure(self) -> Failure | None:
        """Why a whole answer is a failure of the upstream all the same: its status."""
        return failure_of(Head(self.status, "", self.retry_after))

    def grant(self, amount: int) -> None:
        self._credit += amount
        if self._granted is not None and not self._granted.done():
            self._granted.set_result(None)

    async def run(self, pool: Pool, credential: str, body: bytes, patience_s: float) -> None:
        """Returns when the whole answer was passed on; UpstreamFault when there is none, or it was cut."""
        request = post(pool.rule, credential, self._open, body)
        del body
        try:
            connection = await self._ask(pool, request, patience_s)
            del request
            self.on_head()
            try:
                await self._pass_answer(connection, pool, patience_s)
            finally:
                self.received = connection.received
                pool.give_back(connection)
        finally:
            self._patience.close()

    async def _ask(self, pool: Pool, request: bytes, patience_s: float) -> UpstreamConnection:
        """Send, and wait for the head. A kept connection that turns out stale is replaced, once, before any byte."""
        kept = pool.idle()
        if kept is not None:
            try:
                return await self._send(kept, request, patience_s)
            except UpstreamFault as fault:
                if fault.cause is not Cause.BROKE or kept.received:
                    raise
        fresh = await pool.fresh(min(self._timeouts.connect_s, self._deadline.left_s))
        return await self._send(fresh, request, patience_s)

    async def _send(self, connection: UpstreamConnection, request: bytes, patience_s: float) -> UpstreamConnection:
        try:
            self._asked = connection
            connection.send(request)
            self.sent += len(request)
            self.asked_s = self._deadline.left_s
            self._patience.begin(patience_s, Cause.FIRST_TOKEN_TIMEOUT)
            await connection.head()
            self._patience.rest()
        except BaseException:
            self._patience.rest()
            self.received = connection.received
            connection.abort()
            raise
        return connection

    async def _pass_answer(self, connection: UpstreamConnection, pool: Pool, patience_s: float) -> None:
        head = head_of(connection)
        self.status = head.status
        self.retry_after = head.retry_after
        given_away = pool.judge(connection)
        if not given_away.allowed:
            self.caught = given_away
            raise UpstreamFault(Cause.IDENTITY, f"{given_away.reason}: {given_away.detail}")
        if is_cold(head.status, head.content_type):
            raise UpstreamFault(Cause.COLD, f"status {head.status}", COME_BACK_S)
        self._link.send(self._number, Kind.HEAD, encode(head))
        if head.content_type.startswith("text/event-stream"):
            await self._pass_events(connection, patience_s)
        else:
            while (data := await self._next(connection, patience_s)) is not None:
                await self._pass_on(data)
        if self.tap is not None:
            await self.tap.finish()
        self._link.send(self._number, Kind.END)

    async def _pass_events(self, connection: UpstreamConnection, patience_s: float) -> None:
        splitter = EventSplitter()
        while (data := await self._next(connection, patience_s)) is not None:
            try:
                events = splitter.feed(data)
            except EventTooLarge:
                raise UpstreamFault(Cause.TOO_LARGE, "an event that never ends") from None
            await self._pass_on(events, last=splitter.done)
        if splitter.unfinished or not splitter.done:
            raise UpstreamFault(Cause.BROKE, "the stream ended before [DONE]")

    async def _next(self, connection: UpstreamConnection, patience_s: float) -> bytes | None:
        if connection.waiting:
            first = self.first_byte_s is None
            patience = patience_s if first else self._timeouts.between_tokens_s
            cause = Cause.FIRST_TOKEN_TIMEOUT if first else Cause.BETWEEN_TOKENS_TIMEOUT
            self._patience.begin(patience, cause)
            data = await connection.chunk()
            self._patience.rest()
        else:
            data = await connection.chunk()
        if self.first_byte_s is None:
            self.first_byte_s = self._deadline.left_s
        return data

    async def _pass_on(self, data: bytes, *, last: bool = False) -> None:
        """A slow client slows the upstream, and fills no memory here. `last`: an answer ends with it."""
        if self.tap is not None:
            await self.tap.take(data)
            if last:
                await self.tap.finish()
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]  # the whole, if it is no longer
            while self._credit < len(piece):
                self._granted = asyncio.get_running_loop().create_future()
                async with self._deadline.within(self._deadline.left_s, Cause.TOTAL_TIMEOUT):
                    await self._granted
            self._credit -= len(piece)
            self._link.send(self._number, Kind.DATA, piece)


def head_of(connection: UpstreamConnection) -> Head:
    """What of the upstream's head may travel on: a closed list."""

    def text(name: bytes) -> str:
        return connection.headers.get(name, b"").decode("latin-1")[:200]

    kind, semicolon, parameters = text(b"content-type").partition(";")  # RFC 9110, 8.3.1: type and subtype in any case
    content_type = f"{kind.strip().lower()}{semicolon}{parameters}"
    return Head(connection.status, content_type, text(b"retry-after"), text(b"x-ringfence-clamped"))
