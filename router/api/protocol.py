"""The server's side of one client connection: uvicorn's httptools protocol, with the generating endpoints served in it.

A request for one of ENDPOINTS goes from the parser straight to the pipeline and its answer straight to the transport,
without ASGI in between; everything else goes on to the ASGI application. llhttp parses, strictly; we parse nothing.
Every read has a deadline: a request that is not whole READ_S after its first byte is answered 408 and closed.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from policies import Endpoint
from router.api.app import Application
from router.api.host import judge_origin
from router.errors import BodyTooLarge, InvalidRequest, RequestTimeout, RouterError, as_openai
from router.logs import Log
from router.pipeline import Arrival, refuse
from router.reply import Headers

ENDPOINTS = {f"/v1/{endpoint}".encode(): endpoint for endpoint in Endpoint}
READ_S = 30.0
LINGER_S = 1.0  # so that a client that still sends its body gets to read the answer
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_UNSAFE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class HotCycle:
    """One request of a generating endpoint and its answer; stands where uvicorn's RequestResponseCycle stands."""

    def __init__(self, endpoint: Endpoint, headers: list[tuple[bytes, bytes]], *, keep_alive: bool) -> None:
        self.endpoint = endpoint
        self.headers = headers
        self.keep_alive = keep_alive
        self.body = bytearray()
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.turn = False  # answers leave in the order of requests: those before this one are complete
        self.begun = False
        self.refusal: RouterError | None = None  # known before the body was read
        self.message_event = _Unheard()

    def header(self, name: bytes) -> bytes:
        return next((value for key, value in self.headers if key == name), b"")

    def request_id(self) -> str:
        """The caller's own id if it is well formed, else one of ours."""
        given = self.header(b"x-request-id")
        return given.decode() if _WELL_FORMED.fullmatch(given) else f"rf-{secrets.token_hex(8)}"


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
        self.started = True
        lines = [STATUS_LINE[status]]
        for name, value in (*self._fixed, *headers):
            lines += (name, b": ", _UNSAFE.sub(b"", value), b"\r\n")
        self._chunked = not any(name == b"content-length" for name, _ in headers)
        if self._chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        if not self._cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self._pending = lines

    async def write(self, data: bytes) -> None:
        if self._flow.write_paused:
            await self._flow.drain()
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


class RouterProtocol(HttpToolsProtocol):
    """One client connection. `serving` tells the application in force; `named` is what uvicorn gives a protocol."""

    def __init__(self, serving: Callable[[], Application], log: Log, **named: Any) -> None:
        super().__init__(**named)
        self.serving = serving
        self.log = log
        self._work: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    # --- reading, with a deadline ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._work is not None:
            self._work.cancel()  # the client left: the upstream stops
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._arm()

    def on_message_complete(self) -> None:
        self._disarm()
        super().on_message_complete()
        cycle: object = self.cycle
        if isinstance(cycle, HotCycle):
            self._begin(cycle)

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(READ_S, self._too_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        if self._work is None and not self.transport.is_closing():
            self._send_error(RequestTimeout(f"The request was not whole within {READ_S:g} s."))

    def send_400_response(self, msg: str) -> None:
        """Bytes that are no HTTP request (RFC 9112, strictly)."""
        self._send_error(InvalidRequest(msg))

    def _send_error(self, error: RouterError) -> None:
        body = as_openai(error)
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[error.status] + head + body)
        self.transport.close()

    # --- the generating endpoints ---

    def on_headers_complete(self) -> None:
        endpoint = ENDPOINTS.get(self.url.partition(b"?")[0])
        if endpoint is None or self.parser.get_method() != b"POST":
            super().on_headers_complete()
            return
        before = self.cycle
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        cycle = HotCycle(endpoint, self.headers, keep_alive=keep_alive)
        self.cycle = cast("RequestResponseCycle", cycle)  # uvicorn reads of it what HotCycle has
        cycle.turn = before is None or before.response_complete
        if not cycle.turn:
            self.pipeline.appendleft((self.cycle, self.app))
        self._judge_head(cycle)
        self._begin(cycle)

    def _judge_head(self, cycle: HotCycle) -> None:
        announced = cycle.header(b"content-length")
        if announced and int(announced) > self.serving().largest_body:
            self._too_large(cycle)
        elif self.expect_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        cycle: object = self.cycle
        if not isinstance(cycle, HotCycle):
            super().on_body(body)
        elif cycle.refusal is None:
            cycle.body += body
            if len(cycle.body) > self.serving().largest_body:
                self._too_large(cycle)
                self._begin(cycle)

    def _too_large(self, cycle: HotCycle) -> None:
        """Answer before the body was read. What is left of it is read and dropped, and the connection ends."""
        cycle.refusal = BodyTooLarge(f"The body is larger than {self.serving().largest_body} bytes.")
        cycle.keep_alive = cycle.more_body = False
        cycle.body.clear()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Uvicorn calls this when it is the cycle's turn."""
        hot: object = cycle
        if isinstance(hot, HotCycle):
            hot.turn = True
            self._begin(hot)
        else:
            super()._start_asgi_task(cycle, app)

    def _begin(self, cycle: HotCycle) -> None:
        if cycle.turn and not cycle.more_body and not cycle.begun:
            cycle.begun = True
            self._work = self.loop.create_task(self._serve(cycle))
            self.tasks.add(self._work)
            self._work.add_done_callback(self.tasks.discard)

    async def _serve(self, cycle: HotCycle) -> None:
        reply = TransportReply(cycle, self.transport, self.flow, self.server_state.default_headers)
        application, identity = self.serving(), cycle.request_id()
        try:
            judge_origin(cycle.headers, application.snapshot)
            await application.pipeline.serve(_arrival(cycle, identity), reply)
        except RouterError as error:
            await refuse(reply, error, identity)
        except Exception as error:  # noqa: BLE001 - a mistake of ours: its kind to the log, nothing to the client
            self.log("internal_error", request_id=identity, reason=type(error).__name__)
            cycle.keep_alive = False
            await refuse(reply, RouterError("Something went wrong here; the operator's log says what."), identity)
        self._work = None
        if not cycle.keep_alive:
            self.loop.call_later(LINGER_S if cycle.refusal is not None else 0, self.transport.close)
        self.on_response_complete()


def _arrival(cycle: HotCycle, identity: str) -> Arrival:
    return Arrival(
        endpoint=cycle.endpoint,
        request_id=identity,
        authorization=cycle.header(b"authorization").decode("latin-1"),
        reach=cycle.header(b"x-ringfence-reach").decode("latin-1"),
        body=bytes(cycle.body),
        refusal=cycle.refusal,
    )
