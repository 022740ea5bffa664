"""The worker's end: open exchanges with listed upstreams through the gate, by name."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import Final

import msgspec

from router.channel.exchange import Exchange, ExchangeFailed, Waiter
from router.channel.frames import HEADER, WINDOW, ChannelError, Kind, Payload
from router.channel.link import LARGE, Link, attach
from router.channel.messages import MISTAKE_OF_OURS, Ask, Cause, Denial, Failure, Look, Open, Warm, encode
from router.channel.states import UpstreamLoad, UpstreamState

_OPEN: Final = Kind.OPEN  # a look-up of an enumeration's member costs as much as a call of a function
_BODY: Final = Kind.BODY
LOST = Failure(Cause.GATE_LOST, "the gate went away", retry_after_s=1.0)


class GateClient:
    """All exchanges of this worker. Owns the channel and the last known upstream states.

    `on_lost` is told when the channel closes, whatever the reason: the supervisor can make another.
    """

    def __init__(self, on_lost: Callable[[], None] = lambda: None) -> None:
        self._link: Link | None = None
        self._on_lost = on_lost
        self._attached = asyncio.Event()
        self._under_way: dict[int, Exchange] = {}
        self._woken: list[Waiter] = []  # who goes on when all frames that came at once are taken
        self.busy: Counter[str] = Counter()  # exchanges under way, by upstream
        self._last = 0
        self.states: dict[str, UpstreamState] = {}
        self.ledger_refusal = ""  # why the ledger takes no record now, in the gate's words
        self.loads: dict[str, UpstreamLoad] = {}

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The one that all exchanges run in: CPython asks the kernel for the process's id to find it."""
        return asyncio.get_running_loop()

    @property
    def connected(self) -> bool:
        return self._link is not None

    async def attach(self, sock: socket.socket) -> None:
        """Use a new channel: the first one, or the one to a gate that was started again."""
        if self._link is not None:
            self._link.close()
        self._link = await attach(sock, self.link)
        self._attached.set()

    def link(self) -> Link:
        """The worker's end of a channel."""
        return Link(self._on_frame, self._on_closed, self._on_read, self._on_mistake)

    async def ready(self, timeout_s: float) -> None:
        """Wait for a channel; ExchangeFailed if there is none in time."""
        if self._link is not None:
            return
        attached = asyncio.ensure_future(self._attached.wait())
        try:
            await asyncio.wait((attached,), timeout=timeout_s)  # as a Work may do: asyncio.timeout wants a task
        finally:
            attached.cancel()
        if self._link is None:
            raise ExchangeFailed(LOST)

    def exchange(self, message: Open, body: bytes) -> Exchange:
        """Ask for it, with as much of the body as may be sent at once."""
        link, opening, size = self._link, encode(message), len(body)
        self._last = number = self._last % 0xFFFF_FFFF + 1
        exchange = self._under_way[number] = Exchange(self, number)
        if link is None:
            exchange.fail(LOST)
            return exchange
        exchange.upstream = message.upstream
        self.busy[message.upstream] += 1
        heading = HEADER.pack(len(opening), number, _OPEN)
        if size < LARGE:
            link.write(b"%b%b%b%b" % (heading, opening, HEADER.pack(size, number, _BODY), body))
        elif size <= WINDOW:
            link.send(number, _BODY, body, before=heading + opening)
        else:
            link.write(heading + opening)
            exchange.upload(body)
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

    def _begin(self, kind: Kind, payload: bytes) -> Exchange:
        self._last = number = self._last % 0xFFFF_FFFF + 1
        exchange = self._under_way[number] = Exchange(self, number)
        if self._link is None:
            exchange.fail(LOST)
        else:
            self._link.send(number, kind, payload)
        return exchange

    def send(self, number: int, kind: Kind, payload: Payload = b"") -> None:
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

    def _on_frame(self, _link: Link, number: int, kind: Kind, payload: Payload) -> None:
        exchange = self._under_way.get(number)
        if exchange is not None:
            waiter = exchange.take(kind, payload)
            if waiter is not None:
                self._woken.append(waiter)
        elif not number:
            self._hear(kind, payload)

    def _hear(self, kind: Kind, payload: Payload) -> None:
        """What concerns no exchange."""
        try:
            if kind is Kind.STATES:
                self.states = {state.name: state for state in msgspec.json.decode(payload, type=list[UpstreamState])}
            elif kind is Kind.LEDGER:
                self.ledger_refusal = str(payload, "utf-8", "replace")
            elif kind is Kind.LOADS:
                self.loads = {load.name: load for load in msgspec.json.decode(payload, type=list[UpstreamLoad])}
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise ChannelError(f"{kind.name} that are none: {type(error).__name__}") from None

    def _on_mistake(self, link: Link, number: int) -> None:
        """Taking a frame of this exchange failed: it is over here, and at the upstream; who waits for it is told."""
        exchange = self._under_way.get(number)
        if exchange is None:
            return
        link.send(number, Kind.CANCEL, Cause.MISTAKE.encode())
        waiter = exchange.fail(MISTAKE_OF_OURS)
        if waiter is not None:
            self._woken.append(waiter)

    def _on_closed(self, link: Link) -> None:
        if link is not self._link:
            return
        self._link = None
        self._attached.clear()
        self.ledger_refusal = ""  # of that gate; the next one tells of its own
        waiting = [exchange.fail(LOST) for exchange in tuple(self._under_way.values())]
        self._woken += [waiter for waiter in waiting if waiter is not None]
        self._on_read()
        self._on_lost()

    def _on_read(self) -> None:
        """All frames that came at once are taken: whoever they woke goes on."""
        woken, self._woken = self._woken, []
        for waiter in woken:
            try:
                waiter.resume(waiter)
            except Exception as error:  # noqa: BLE001 - the others are not to blame
                self.loop.call_exception_handler({"message": "a mistake in who was woken", "exception": error})
