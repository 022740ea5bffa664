"""One request of a generating endpoint, and its answer written straight to the transport."""

from __future__ import annotations

import asyncio
import re
import secrets
from operator import itemgetter
from typing import Final

import msgspec
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from policies import Caller, Endpoint
from router.answer import Whole
from router.errors import RouterError
from router.pipeline import Pipeline
from router.reply import UNSAFE, Headers

READ_S = 30.0  # for a client to read something of its answer
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_LENGTH: Final = b"\r\ncontent-length: "
_STAYS: Final = b"\r\n\r\n"
_CLOSES: Final = b"\r\nconnection: close\r\n\r\n"
_VALUE: Final = itemgetter(1)


def request_id(given: bytes = b"") -> str:
    """The caller's own id if it is well formed, else one of ours."""
    return given.decode() if _WELL_FORMED.fullmatch(given) else f"rf-{secrets.token_hex(8)}"


class Identities:
    """Names of our own for the requests of one connection: 64 random bits, and on from there in steps that differ.

    One system call for a connection, not for each request. Steps of this size (2^64 over the golden ratio) pass every
    number before one comes again, and leave no two alike at a glance.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = -1

    def fresh(self) -> str:
        if self._last < 0:
            self._last = secrets.randbits(64)
        self._last = (self._last + 0x9E37_79B9_7F4A_7C15) & 0xFFFF_FFFF_FFFF_FFFF
        return f"rf-{self._last:016x}"


class _Unheard:
    """uvicorn wakes the ASGI side by an event; nobody waits here."""

    def set(self) -> None:
        return


UNHEARD: Final = _Unheard()


class HotCycle(msgspec.Struct, eq=False):
    """One request of a generating endpoint and its answer; stands where uvicorn's RequestResponseCycle stands."""

    endpoint: Endpoint
    path: bytes
    headers: list[tuple[bytes, bytes]]
    first: dict[bytes, bytes]  # of several of one name the first; where that would be a guess, they are refused
    chunks: bool  # the client reads chunked answers
    keep_alive: bool
    turn: bool  # answers leave in the order of requests: those before this one are complete
    pipeline: Pipeline  # that knows `caller` by the head; once it is begun, that it is begun under
    most: int  # bytes of its body
    pieces: list[bytes] = []  # of its body
    held: int = 0  # bytes in them
    more_body: bool = True
    disconnected: bool = False
    response_complete: bool = False
    begun: bool = False
    waits_for_100: bool = False
    refusal: RouterError | None = None  # known before the body was read
    caller: Caller | None = None
    message_event: _Unheard = UNHEARD

    def text(self, name: bytes) -> str:
        """The value of a header, "" where there is none."""
        value = self.first.get(name)
        return value.decode("latin-1") if value is not None else ""

    def all(self, name: bytes) -> bytes:
        """All values of one name (RFC 9110, 5.2: joined by commas)."""
        return b",".join(value for key, value in self.headers if key == name)

    def drop_body(self) -> int:
        """Let go of what was read of it; how many bytes that were."""
        size, self.held, self.pieces = self.held, 0, []
        return size


def answer_bytes(fixed: Headers, answer: Whole, *, keep_alive: bool) -> bytes:
    """What TransportReply writes of it. `fixed`: the server's own headers, which are safe."""
    head = STATUS_LINE[answer.status]
    for name, value in fixed:
        head += b"%b: %b\r\n" % (name, value)
    body = answer.body
    return b"%b%b%b%d%b%b" % (head, answer.head, _LENGTH, len(body), _STAYS if keep_alive else _CLOSES, body)


class TransportReply:
    """A Reply written straight to the transport; head and first bytes leave in one write."""

    __slots__ = ("_chunked", "_cycle", "_fixed", "_flow", "_pending", "_transport", "started")

    def __init__(self, cycle: HotCycle, transport: asyncio.Transport, flow: FlowControl, fixed: Headers) -> None:
        self._cycle = cycle
        self._transport = transport
        self._flow = flow
        self._fixed = fixed
        self._pending: list[bytes] = []
        self._chunked = True
        self.started = False

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """In one write."""
        head = self._head(status, headers)
        self.started = True
        if self._flow.write_paused:  # by an answer before this one
            await self._writable()
        if not self._cycle.disconnected:
            last = _STAYS if self._cycle.keep_alive else _CLOSES
            self._transport.write(b"%b%b%d%b%b" % (head, _LENGTH, len(body), last, body))
        self._cycle.response_complete = True

    async def start(self, status: int, headers: Headers) -> None:
        self._chunked = self._cycle.chunks  # an answer to HTTP/1.0 ends with its connection
        more = b"\r\ntransfer-encoding: chunked" if self._chunked else b""
        last = _STAYS if self._cycle.keep_alive else _CLOSES
        self._pending = [self._head(status, headers), more, last]
        self.started = True

    def _head(self, status: int, headers: Headers) -> bytes:
        """Without its end, and without what tells the body's."""
        lines = (*self._fixed, *headers)
        if UNSAFE.search(b"".join(map(_VALUE, lines))) is not None:  # hardly ever: one look at all values
            lines = tuple((name, UNSAFE.sub(b"", value)) for name, value in lines)
        return STATUS_LINE[status] + b"\r\n".join(map(b": ".join, lines))

    async def write(self, data: bytes) -> None:
        if self._flow.write_paused:
            await self._writable()
        pending = self._pending
        pending += (b"%x\r\n" % len(data), data, b"\r\n") if self._chunked else (data,)
        if not self._cycle.disconnected:
            self._transport.write(b"".join(pending))
        self._pending = []

    async def _writable(self) -> None:
        """Returns when more can be sent, or never will be: who has read nothing for so long is not coming back."""
        while self._flow.write_paused:
            if not await self._drained():
                self._transport.abort()
                self._cycle.disconnected = True
                return

    def leave(self) -> None:
        """The client is gone. Its work ends in the loop's next pass; what the gate sends until then is poured away."""
        self._cycle.disconnected = True

    def pour(self, data: bytes | memoryview) -> bool:
        if self._flow.write_paused or not self._chunked or self._pending:
            return False
        if not self._cycle.disconnected:
            piece = b"%x\r\n%b\r\n" % (len(data), data)  # type: ignore[str-format]  # %b takes any buffer (PEP 461)
            self._transport.write(piece)
        return True

    async def _drained(self) -> bool:
        draining = asyncio.ensure_future(self._flow.drain())
        try:
            drained, _ = await asyncio.wait((draining,), timeout=READ_S)
            return bool(drained)
        finally:
            draining.cancel()

    async def finish(self) -> None:
        if self._chunked:
            self._pending.append(b"0\r\n\r\n")
        if self._pending and not self._cycle.disconnected:
            self._transport.write(b"".join(self._pending))
        self._pending = []
        self._cycle.response_complete = True
