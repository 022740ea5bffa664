"""Ask one upstream and pass its answer on to the worker, whole event by whole event, within the worker's credit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from policies import Decision
from router.channel.frames import COUNT, PIECE, WINDOW, ChannelError, Kind, pack_answer
from router.channel.link import Link
from router.channel.messages import Cause, Failure, Head
from router.failures import failure_of
from router.gate.capturing import AnswerTap
from router.gate.connection import UpstreamConnection, UpstreamFault
from router.gate.deadline import Deadline, Patience
from router.gate.events import EventSplitter, EventTooLarge
from router.gate.route import Route
from router.gate.steps import Wait, in_task

COME_BACK_S = 2.0
_FIRST_TOKEN, _BETWEEN_TOKENS = Cause.FIRST_TOKEN_TIMEOUT, Cause.BETWEEN_TOKENS_TIMEOUT


class Relay:
    """One answer on its way. What was seen of it stays readable for the outcome, whatever happens.

    It acts when the connection has news, within the connection's own call: what was read leaves in the same pass of the
    loop. While the worker's credit is used up, or while a tap seals, nothing more is read.
    """

    _credit = WINDOW
    _held = b""  # what no credit is left for
    _sealing: asyncio.Task[bytes] | None = None  # what it brings may go on
    _sealed_whole = False
    _connection: UpstreamConnection | None = None
    _splitter: EventSplitter | None = None  # of a stream
    _first = (0.0, _FIRST_TOKEN)  # how long to wait for the first byte
    _begun = False  # its head is here
    _head = b""  # that message, until it has gone on
    _over: Wait[None] | None = None
    status = 0
    retry_after = ""  # as the upstream wrote it
    sent = 0  # a request that went out twice, because a kept connection was closed unread, counts twice
    resent = False  # that it did
    asked_at = 0.0  # by the clock, as first_byte_at: when the request was sent
    received = 0
    address = ""  # whom it was sent to, once it was
    tap: AnswerTap | None = None  # sealed capture, if this exchange has it
    caught: Decision | None = None  # the head of the answer gave away what this upstream is
    first_byte_at: float | None = None

    def __init__(self, number: int, link: Link, route: Route, deadline: Deadline, request: bytes) -> None:
        """`request` is held until the upstream answers: a stream need not hold its prompt."""
        self._number = number
        self._link = link
        self._route = route
        self._request = request
        self._deadline = deadline
        self._patience = Patience(deadline, self._end)
        self.on_head: Callable[[], int] = _untold  # the request is held no longer; the record to tell, -1 for none

    @property
    def failure(self) -> Failure | None:
        """Why a whole answer is a failure of the upstream all the same: its status."""
        return failure_of(Head(self.status, "", self.retry_after))

    @property
    def spoken(self) -> bool:
        """Part of a stream has gone on."""
        return self._splitter is not None and self.first_byte_at is not None

    @property
    def first_byte_s(self) -> float:
        """How long the upstream took, once asked, to begin; for a whole answer that is all of it."""
        return self.first_byte_at - self.asked_at if self.first_byte_at is not None else 0.0

    @property
    def waited_in_vain(self) -> bool:
        """It was asked early, before half of the tier's time had gone by, and has said nothing."""
        deadline = self._deadline
        return self.first_byte_at is None and 0 < self.asked_at < deadline.at - deadline.total_s / 2

    def grant(self, amount: int) -> None:
        """The worker takes so many bytes more; ChannelError for more than it was sent: what we hold is bounded."""
        if self._credit + amount > WINDOW:
            raise ChannelError(f"a credit of {amount} bytes")
        self._credit += amount
        if self._held:
            self._on_news()

    async def run(self, patience_s: float) -> None:
        """Returns when the whole answer was passed on; UpstreamFault when there is none, or it was cut.

        A kept connection that turns out stale is replaced, once, before any byte.
        """
        self._first, pool = (patience_s, _FIRST_TOKEN), self._route.pool
        kept = pool.idle()
        try:
            if kept is not None:
                try:
                    return await self._answer_of(kept)
                except UpstreamFault as fault:
                    if fault.cause is not Cause.BROKE or kept.received:
                        raise
                self._give_back()
                self.resent = self.sent > 0
            connect_s = min(self._route.timeouts.connect_s, self._deadline.left_s)
            await self._answer_of(await in_task(self._link.loop, pool.fresh(connect_s)))
        finally:
            self._give_back()
            self._patience.close()
            self._request = b""

    def _answer_of(self, connection: UpstreamConnection) -> Wait[None]:
        """Send, and wait until the answer is over."""
        self._connection = connection
        over: Wait[None] = Wait()
        self._over = over
        connection.send(self._request, self._on_news)
        self.sent, self.address = self.sent + len(self._request), connection.address
        self.asked_at = self._deadline.clock.now()
        self._patience.begin(*self._first)
        return over

    def _give_back(self) -> None:
        """The connection, if there is one. Nothing that comes on it is ours any more."""
        connection, self._connection, self._over = self._connection, None, None
        if self._sealing is not None:
            self._sealing.cancel()
        if connection is not None:
            self.received = connection.received
            self._route.pool.give_back(connection)

    def _end(self, error: BaseException | None = None) -> None:
        if self._over is not None:
            self._over.end(error=error)

    # --- acting on news ---

    def _on_news(self) -> None:
        connection = self._connection
        if connection is None or self._sealing is not None:
            return
        try:
            over = self._look(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this exchange and not the connection's call
            self._end(error)
        else:
            if over and self._over is not None:
                self._over.end()

    def _look(self, connection: UpstreamConnection) -> bool:
        """Pass on what has come, as far as it may go. True: that was all."""
        if not self._begun and not self._begins(connection):
            return False
        if self._held and not self._pass_held(connection):
            return False
        data = connection.take()
        if self._head and self._head_goes(data, connection):
            return True
        if data and not self._pass_on(data, connection):
            return False
        if connection.complete:
            return self._finish(connection)
        if connection.fault is not None:
            raise connection.fault
        return False

    def _heard(self) -> None:
        """It has said something for the first time: bytes of the answer, and not only of what carries them."""
        self.first_byte_at = self._deadline.clock.now()
        self._patience.begin(self._route.timeouts.between_tokens_s, _BETWEEN_TOKENS)

    def _begins(self, connection: UpstreamConnection) -> bool:
        """The head goes on once it is there, unless this is no answer of one that may give any."""
        if not connection.head_complete:
            connection.check()
            return False
        opening = self._route.pool.openings.of(connection)
        self.status, self.retry_after = connection.status, opening.retry_after
        if not (judged := opening.judged).allowed:
            self.caught = judged
            raise UpstreamFault(Cause.IDENTITY, f"{judged.reason}: {judged.detail}")
        if opening.cold:
            raise UpstreamFault(Cause.COLD, f"status {connection.status}", COME_BACK_S)
        self._begun, self._head, self._request = True, opening.message, b""
        if opening.streams:
            self._splitter = EventSplitter()
        return True

    def _head_goes(self, data: bytes, connection: UpstreamConnection) -> bool:
        """The head goes on. True: so did all of the answer, in one frame, as of most that are no streams."""
        head, self._head = self._head, b""
        record = self.on_head()
        is_whole = connection.complete and self._splitter is None and self.tap is None
        if is_whole and len(data) <= min(PIECE, self._credit):
            self.first_byte_at = self._deadline.clock.now()
            self._link.write(pack_answer(self._number, record, head, data))
            return True
        if record >= 0:
            self._link.send(self._number, Kind.RECORD, COUNT.pack(record))
        self._link.send(self._number, Kind.HEAD, head)
        return False

    def _pass_on(self, data: bytes, connection: UpstreamConnection) -> bool:
        """Of a stream, whole events. True: all of it has gone on."""
        splitter = self._splitter
        if splitter is not None:
            try:
                data = splitter.feed(data)
            except EventTooLarge:
                raise UpstreamFault(Cause.TOO_LARGE, "an event that never ends") from None
        if splitter.spoke if splitter is not None else not data.isspace():
            if self.first_byte_at is not None:
                self._patience.again()
            else:
                self._heard()
        if self.tap is not None:
            self._seal(self.tap, data, connection, last=splitter is not None and splitter.done)
            return False
        size = len(data)
        if size <= self._credit and size <= PIECE:
            if size:
                self._credit -= size
                self._link.send_data(self._number, data)
            return True
        self._held = data
        return self._pass_held(connection)

    def _pass_held(self, connection: UpstreamConnection) -> bool:
        """A slow client slows the upstream, and fills no memory here."""
        while self._held:
            piece = self._held[:PIECE]
            if self._credit < len(piece):
                connection.pause(paused=True)
                self._patience.hold()
                return False
            self._credit -= len(piece)
            self._held = self._held[PIECE:]
            self._link.send_data(self._number, piece)
        connection.pause(paused=False)
        self._patience.go_on()
        return True

    def _finish(self, connection: UpstreamConnection) -> bool:
        splitter = self._splitter
        if self.first_byte_at is None:
            self.first_byte_at = self._deadline.clock.now()
        if splitter is not None and (splitter.unfinished or not splitter.done):
            raise UpstreamFault(Cause.BROKE, "the stream ended before [DONE]")
        if self.tap is not None and not self._sealed_whole:
            self._seal(self.tap, b"", connection, last=True)
            return False
        self._link.send(self._number, Kind.END)
        return True

    # --- sealed capture ---

    def _seal(self, tap: AnswerTap, data: bytes, connection: UpstreamConnection, *, last: bool) -> None:
        """The tap sees it first; nothing else is read meanwhile. `last`: an answer ends with it."""
        connection.pause(paused=True)
        self._patience.hold()
        self._sealed_whole = last
        self._sealing = self._link.loop.create_task(_through(tap, data, last=last))
        self._sealing.add_done_callback(self._sealed)

    def _sealed(self, task: asyncio.Task[bytes]) -> None:
        self._sealing = None
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            self._end(error)
            return
        self._held += task.result()
        if self._connection is not None:
            self._connection.pause(paused=False)
            self._patience.go_on()
        self._on_news()


def _untold() -> int:
    return -1


async def _through(tap: AnswerTap, data: bytes, *, last: bool) -> bytes:
    await tap.take(data)
    if last:
        await tap.finish()
    return data
