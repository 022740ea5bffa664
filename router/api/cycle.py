"""One request of a generating endpoint, and its answer written straight to the transport."""

from __future__ import annotations

import asyncio
import re
import secrets

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from policies import Caller, Endpoint
from router.errors import RouterError
from router.reply import Headers

READ_S = 30.0  # for a client to read something of its answer
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_UNSAFE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def request_id(given: bytes = b"") -> str:
    """The caller's own id if it is well formed, else one of ours."""
    return given.decode() if _WELL_FORMED.fullmatch(given) else f"rf-{secrets.token_hex(8)}"


class HotCycle:
    """One request of a generating endpoint and its answer; stands where uvicorn's RequestResponseCycle stands."""

    def __init__(
        self, endpoint: Endpoint, headers: list[tuple[bytes, bytes]], *, keep_alive: bool, path: bytes = b""
    ) -> None:
        self.endpoint = endpoint
        self.path = path
        self.headers = headers
        self._first = dict(reversed(headers))  # of several of one name the first counts
        self.keep_alive = keep_alive
        self.body = bytearray()
        self.more_body = True
        self.chunks = True  # the client reads chunked answers
        self.disconnected = False
        self.response_complete = False
        self.turn = False  # answers leave in the order of requests: those before this one are complete
        self.begun = False
        self.waits_for_100 = False
        self.refusal: RouterError | None = None  # known before the body was read
        self._request_id = ""
        self.judge: object = None  # the pipeline that knows `caller` by the head
        self.caller: Caller | None = None
        self.message_event = _Unheard()

    def header(self, name: bytes) -> bytes:
        return self._first.get(name, b"")

    def all(self, name: bytes) -> bytes:
        """All values of one name (RFC 9110, 5.2: joined by commas)."""
        if name not in self._first:
            return b""
        return b",".join(value for key, value in self.headers if key == name)

    def request_id(self) -> str:
        """The caller's own id if it is well formed, else one of ours. The same, however often it is asked for."""
        if not self._request_id:
            self._request_id = request_id(self.header(b"x-request-id"))
        return self._request_id


class _Unheard:
    """uvicorn wakes the ASGI side by an event; nobody waits here."""

    def set(self) -> None:
        return


class TransportReply:
    """A Reply written straight to the transport; head and first bytes leave in one write."""

    def __init__(self, cycle: HotCycle, transport: asyncio.Transport, flow: FlowControl, fixed: Headers) -> None:
        self._cycle = cycle
        self._transport = transport
        self._flow = flow
        self._fixed = fixed
        self._pending: list[bytes] = []
        self._chunked = True
        self.started = False

    async def start(self, status: int, headers: Headers) -> None:
        lines = [STATUS_LINE[status]]
        self._chunked = self._cycle.chunks  # an answer to HTTP/1.0 ends with its connection
        safe = _UNSAFE.search(b"".join([value for _, value in headers])) is None  # nearly always: one look at all
        for name, value in (*self._fixed, *headers):
            lines += (name, b": ", value if safe else _UNSAFE.sub(b"", value), b"\r\n")
            if name == b"content-length":
                self._chunked = False
        if self._chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        if not self._cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self._pending = lines
        self.started = True

    async def write(self, data: bytes) -> None:
        if self._flow.write_paused:
            try:
                async with asyncio.timeout(READ_S):
                    await self._flow.drain()
            except TimeoutError:
                self._transport.abort()  # it has read nothing for so long: it is not coming back
                return
        self._pending += (b"%x\r\n" % len(data), data, b"\r\n") if self._chunked else (data,)
        self._flush()

    async def finish(self) -> None:
        if self._chunked:
            self._pending.append(b"0\r\n\r\n")
        self._flush()
        self._cycle.response_complete = True

    def _flush(self) -> None:
        if self._pending and not self._cycle.disconnected:
            self._transport.write(b"".join(self._pending))
        self._pending = []
