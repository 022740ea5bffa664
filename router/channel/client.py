"""The worker's end: open exchanges with listed upstreams through the gate, by name."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, deque
from collections.abc import Callable

import msgspec

from router.channel.frames import COUNT, CREDIT_EACH, PIECE, WINDOW, ChannelError, Kind, counted
from router.channel.link import Link, attach
from router.channel.messages import Ask, Cause, Denial, Failure, Head, Look, Open, Queued, Warm, decode, encode
from router.channel.states import UpstreamLoad, UpstreamState

LOST = Failure(Cause.GATE_LOST, "the gate went away", retry_after_s=1.0)


class ExchangeFailed(Exception):
    """The gate says that this exchange is over, and why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.cause}: {failure.detail}")
        self.failure = failure


class Exchange:
    """One exchange under way. Single reader: `opened`, then `chunk` until it returns None."""

    def __init__(self, client: GateClient, number: int, body: bytes = b"") -> None:
        self._client = client
        self._number = number
        self._body = body
        self._sent = 0  # bytes of it
        self._credit = WINDOW
        self._read = 0  # answer bytes that are not credited yet
        self._chunks: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._failure: Failure | None = None
        self.upstream = ""
        self.record: int | None = None  # ledger index of the decision
        self.head: Head | None = None
        self.queued: Queued | None = None  # it had to wait for its place
        self.rows: bytes = b""

    async def opened(self) -> Head:
        """Wait for the upstream's head; ExchangeFailed when there will be none."""
        while self.head is None:
            self._raise_failure()
            await self._wait()
        return self.head

    async def chunk(self) -> bytes | None:
        """The next answer bytes, or None at the end of a whole answer; ExchangeFailed when it was cut."""
        while not self._chunks:
            if self._ended:
                return None
            self._raise_failure()
            await self._wait()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._read += len(data)
        if self._read >= CREDIT_EACH and not self._ended:
            self._client.send(self._number, Kind.CREDIT, COUNT.pack(self._read))
            self._read = 0
        return data

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
        if self.finish():
            self._client.send(self._number, Kind.CANCEL, cause.encode())

    def finish(self) -> bool:
        """Forget the exchange; True if it was still under way."""
        return self._client.forget(self._number)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise ExchangeFailed(self._failure)

    async def _wait(self) -> None:
        self._waiter = self._client.loop.create_future()
        await self._waiter

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def upload(self, granted: int = 0) -> None:
        """Send as much of the body as the gate has granted."""
        self._credit += granted
        while self._sent < len(self._body) and self._credit > 0:
            piece = self._body[self._sent : self._sent + min(PIECE, self._credit)]
            self._client.send(self._number, Kind.BODY, piece)
            self._sent += len(piece)
            self._credit -= len(piece)

    def fail(self, failure: Failure) -> None:
        self._failure = failure
        self.finish()
        self.wake()

    def take(self, kind: Kind, payload: bytes) -> None:
        """One frame of this exchange from the gate."""
        if kind is Kind.CREDIT:
            self.upload(counted(payload))
        elif kind is Kind.QUEUED:
            self.queued = decode(Queued, payload)
        else:
            self._take_news(kind, payload)
            self.wake()

    def _take_news(self, kind: Kind, payload: bytes) -> None:
        match kind:
            case Kind.DATA:
                self._chunks.append(payload)
            case Kind.HEAD:
                self.head = decode(Head, payload)
            case Kind.RECORD:
                self.record = counted(payload)
            case Kind.END:
                self._ended = True
                self.finish()
            case Kind.FAIL:
                self.fail(decode(Failure, payload))
            case Kind.ROWS:
                self.rows = payload
                self.finish()
            case _:
                raise ChannelError(f"{kind.name} from the gate")


class GateClient:
    """All exchanges of this worker. Owns the channel and the last known upstream states.

    `on_lost` is told when the channel closes, whatever the reason: the supervisor can make another.
    """

    def __init__(self, on_lost: Callable[[], None] = lambda: None) -> None:
        self._link: Link | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_lost = on_lost
        self._attached = asyncio.Event()
        self._under_way: dict[int, Exchange] = {}
        self.busy: Counter[str] = Counter()  # exchanges under way, by upstream
        self._last = 0
        self.states: dict[str, UpstreamState] = {}
        self.ledger_refusal = ""  # why the ledger takes no record now, in the gate's words
        self.loads: dict[str, UpstreamLoad] = {}

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The one that all exchanges run in."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    @property
    def connected(self) -> bool:
        return self._link is not None

    async def attach(self, sock: socket.socket) -> None:
        """Use a new channel: the first one, or the one to a gate that was started again."""
        if self._link is not None:
            self._link.close()
        self._link = await attach(sock, self._on_frame, self._on_closed)
        self._attached.set()

    async def ready(self, timeout_s: float) -> None:
        """Wait for a channel; ExchangeFailed if there is none in time."""
        if self._link is not None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._attached.wait()
        except TimeoutError:
            raise ExchangeFailed(LOST) from None

    def exchange(self, message: Open, body: bytes) -> Exchange:
        exchange = self._begin(Kind.OPEN, encode(message), body)
        if self._link is not None:
            exchange.upstream = message.upstream
            self.busy[message.upstream] += 1
            exchange.upload()
        return exchange

    def deny(self, message: Denial) -> Exchange:
        return self._begin(Kind.DENY, encode(message))

    def warm(self, message: Warm) -> Exchange:
        return self._begin(Kind.WARM, encode(message))

    def receipt(self, message: Ask) -> Exchange:
        return self._begin(Kind.RECEIPT, encode(message))

    def report(self, message: Look) -> Exchange:
        return self._begin(Kind.REPORT, encode(message))

    def metrics(self) -> Exchange:
        return self._begin(Kind.METRICS, b"")

    def _begin(self, kind: Kind, payload: bytes, body: bytes = b"") -> Exchange:
        self._last = self._last % 0xFFFF_FFFF + 1
        exchange = Exchange(self, self._last, body)
        if self._link is None:
            exchange.fail(LOST)
            return exchange
        self._under_way[self._last] = exchange
        self._link.send(self._last, kind, payload)
        return exchange

    def send(self, number: int, kind: Kind, payload: bytes = b"") -> None:
        if self._link is not None:
            self._link.send(number, kind, payload)

    def forget(self, number: int) -> bool:
        exchange = self._under_way.pop(number, None)
        if exchange is not None and exchange.upstream:
            self.busy[exchange.upstream] -= 1
        return exchange is not None

    def close(self) -> None:
        if self._link is not None:
            self._link.close()

    def _on_frame(self, _link: Link, number: int, kind: Kind, payload: bytes) -> None:
        if kind is Kind.STATES:
            self.states = {state.name: state for state in msgspec.json.decode(payload, type=list[UpstreamState])}
        elif kind is Kind.LEDGER:
            self.ledger_refusal = payload.decode("utf-8", "replace")
        elif kind is Kind.LOADS:
            self.loads = {load.name: load for load in msgspec.json.decode(payload, type=list[UpstreamLoad])}
        elif exchange := self._under_way.get(number):
            exchange.take(kind, payload)

    def _on_closed(self, link: Link) -> None:
        if link is not self._link:
            return
        self._link = None
        self._attached.clear()
        self.ledger_refusal = ""  # of that gate; the next one tells of its own
        for exchange in tuple(self._under_way.values()):
            exchange.fail(LOST)
        self._on_lost()
