"""One exchange with an upstream as its reader in a worker sees it: what it may wait for, and what wakes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from router.channel.frames import COUNT, CREDIT_EACH, PIECE, WINDOW, ChannelError, Kind, Payload, answered, counted
from router.channel.messages import Cause, Failure, Head, Queued, decode
from router.channel.work import Pause

Pour = Callable[[Payload], bool]
NOTHING: Final = memoryview(b"")
_DATA: Final = Kind.DATA  # a look-up of an enumeration's member costs as much as a call of a function
_ANSWER: Final = Kind.ANSWER


class Waiter(Protocol):
    """Who waits for an exchange: `resume` is called once, with itself, when all frames that came at once are taken."""

    @property
    def resume(self) -> Callable[[Any], object]: ...


class Carrier(Protocol):
    """What an exchange needs of the client whose it is."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def send(self, number: int, kind: Kind, payload: Payload = b"") -> None: ...

    def forget(self, number: int) -> bool: ...


class ExchangeFailed(Exception):
    """The gate says that this exchange is over, and why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.cause}: {failure.detail}")
        self.failure = failure


class Exchange(msgspec.Struct, eq=False):
    """One exchange under way. Single reader: `opened`, then `chunk` until it returns None.

    A struct, though it changes: of all ways to make an object, one is made for each request by the cheapest.
    """

    _client: Carrier
    number: int
    _body: memoryview = NOTHING  # what is left of it to send, where it does not leave at once
    _credit: int = WINDOW
    _read: int = 0  # answer bytes that are not credited yet
    chunks: list[bytes] = []  # of the answer, that were not read yet
    _held: int = 0  # bytes in them
    _whole: str = ""  # the content type that its reader wants all of at once
    _into: Pour | None = None  # where answer bytes go while its reader waits for them
    _waiter: Waiter | None = None
    over: bool = False
    ended: bool = False  # with a whole answer
    _failure: Failure | None = None
    upstream: str = ""
    record: int | None = None  # ledger index of the decision
    head: Head | None = None
    queued: Queued | None = None  # it had to wait for its place
    rows: bytes = b""

    def wait_whole(self, content_type: str, waiter: Waiter) -> None:
        """Wake `waiter` once there is something to look at: as `opened` waits, without a coroutine."""
        self._whole, self._waiter = content_type, waiter

    async def opened(self, whole: str = "") -> Head:
        """Wait for the upstream's head; ExchangeFailed when there will be none.

        An answer of the content type `whole` is waited for to its end, or until more than a little of it is here.
        """
        self._whole = whole
        while self.head is None or not (self.ended or self._is_enough(self.head)):
            if self._failure is not None:
                raise ExchangeFailed(self._failure)
            self._waiter = pause = Pause(self._client.loop)
            await pause
        return self.head

    def rest(self) -> bytes:
        """What is here of the answer and was not read yet."""
        chunks = self.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._held = 0
        return data

    async def chunk(self, into: Pour | None = None) -> bytes | None:
        """The next answer bytes, or None at the end of a whole answer; ExchangeFailed when it was cut.

        What comes while this waits goes straight `into` the next place, as long as that takes it: then it is returned.
        """
        while not self.chunks:
            if self.ended:
                return None
            self._raise_failure()
            self._into = into
            await self._wait()
        data = self.rest()
        self._read += len(data)
        if self._read >= CREDIT_EACH:
            self._credit_read()
        return data

    def _credit_read(self) -> None:
        if not self.ended:
            self._client.send(self.number, Kind.CREDIT, COUNT.pack(self._read))
            self._read = 0

    async def recorded(self) -> int:
        """Wait for the ledger index of a denial."""
        try:
            while self.record is None:
                self._raise_failure()
                await self._wait()
        finally:
            self.finish()  # also when the client left meanwhile
        return self.record

    async def answered(self) -> bytes:
        """Wait for the rows of a warm-up (JSON)."""
        try:
            while not self.rows:
                self._raise_failure()
                await self._wait()
        finally:
            self.cancel()  # who left needs no rows
        return self.rows

    def cancel(self, cause: Cause = Cause.CANCELLED) -> None:
        """Stop the upstream's work. Safe at any time, and again. `cause`: what is wrong with its answer, if we left."""
        self._waiter = None  # nothing comes that could wake it
        if self.finish():
            self._client.send(self.number, Kind.CANCEL, cause.encode())

    def finish(self) -> bool:
        """Forget the exchange; True if it was still under way."""
        if self.over:
            return False
        self.over = True
        return self._client.forget(self.number)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise ExchangeFailed(self._failure)

    def _is_enough(self, head: Head) -> bool:
        """Is there anything that a reader of whole answers must look at now?"""
        whole = self._whole and head.status < 400 and head.content_type.startswith(self._whole)
        return not whole or self.ended or self._held >= CREDIT_EACH or self._failure is not None

    def _wait(self) -> Pause:
        self._waiter = pause = Pause(self._client.loop)
        return pause

    def upload(self, body: bytes) -> None:
        """Send as much of a body as may be sent at once, and the rest as the gate grants it."""
        self._body = memoryview(body)
        self._send_more()

    def _send_more(self) -> None:
        while self._body and self._credit > 0:
            size = min(PIECE, self._credit)
            piece, self._body = self._body[:size], self._body[size:]
            self._client.send(self.number, Kind.BODY, piece)
            self._credit -= len(piece)

    def fail(self, failure: Failure) -> Waiter | None:
        """It is over; who waits for it, if anybody does."""
        self._failure = failure
        self.finish()
        waiter, self._waiter = self._waiter, None
        return waiter

    def take(self, kind: Kind, payload: Payload) -> Waiter | None:
        """One frame of this exchange from the gate; who waits for just this, if anybody does."""
        if kind is _DATA:
            if self._into is not None and self._waiter is not None and self._into(payload):
                self._read += len(payload)
                if self._read >= CREDIT_EACH:
                    self._credit_read()
                return None
            if self._keeps(bytes(payload)):
                return None
        elif kind is _ANSWER:
            record, head, body = answered(payload)
            self.record = record if record >= 0 else self.record
            self.head = _head_of(head)
            if body:
                self.chunks.append(body)
            self.ended = True
            self.finish()
        elif not self._take_part(kind, payload):
            return None
        waiter, self._waiter = self._waiter, None
        return waiter

    def _take_part(self, kind: Kind, payload: Payload) -> bool:
        """Of an answer that comes by and by; is there anything that its reader must look at now?"""
        if kind is Kind.RECORD:
            self.record = counted(payload)
            return not self.upstream  # of a denial, that is all
        if kind is Kind.HEAD:
            self.head = decode(Head, payload)
            return self._is_enough(self.head)
        return self._take_end(kind, payload)

    def _keeps(self, data: bytes) -> bool:
        """True where its reader need not look at these answer bytes now."""
        self.chunks.append(data)
        self._held += len(data)
        return bool(self._whole) and self._held < CREDIT_EACH

    def _take_end(self, kind: Kind, payload: Payload) -> bool:
        """The rarer kinds; is this exchange over?"""
        match kind:
            case Kind.END:
                self.ended = True
            case Kind.FAIL:
                self._failure = decode(Failure, payload)
            case Kind.ROWS:
                self.rows = bytes(payload)
            case Kind.CREDIT:
                self._credit += counted(payload)
                self._send_more()
                return False
            case Kind.QUEUED:
                self.queued = decode(Queued, payload)
                return False
            case _:
                raise ChannelError(f"{kind.name} from the gate")
        self.finish()
        return True


@lru_cache(maxsize=256)  # most heads are alike: a status and a content type
def _head_of(payload: bytes) -> Head:
    return decode(Head, payload)
