"""One client connection's patience: deadlines on reading, keep-alive, and no more bytes and connections than we hold.

Every read has a deadline: a request that is not whole READ_S after its first byte is answered 408 and closed.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from router.api.cycle import HotCycle
from router.api.intake import Intake
from router.api.upgrade import without_offer
from router.errors import MISTAKE, HeadTooLarge, RequestTimeout, RouterError, Unavailable
from router.reply import Headers

READ_S = 30.0  # for a request to be whole
MOST_FRUITLESS = 64 * 1024  # bytes of a request, after its first read, one after another that bring nothing of a body
FAREWELL_S = 1.0  # for a client to answer that we close an idle connection


def expects_100(headers: Headers) -> bool:
    """Does the client wait for a word before it sends the body (RFC 9110, 10.1.1)?"""
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, read with a deadline; what is done with a request is the subclass's."""

    def __init__(self, intake: Intake, **named: Any) -> None:
        super().__init__(**named)
        self._intake = intake
        self._address = ""
        self._held = 0  # bytes of bodies
        # Whole, or refused: to be begun when all that was read with it is looked at.
        self._ready: HotCycle | None = None
        self._offered = False  # an upgrade, by the request whose head was read last
        self._ended = False  # refused: what still comes is not looked at
        self._unwhole = True  # a request, or the first one, is on its way
        self._fruitless = 0  # bytes of it that brought nothing of a body yet: a head, trailers, sizes of chunks
        self._quiet_since = 0.0  # of the loop's clock: when the last answer was complete
        self._deadline: asyncio.TimerHandle | None = None

    def _answering(self) -> bool:
        """Is an answer under way?"""
        raise NotImplementedError

    def _begin(self, cycle: HotCycle, *, soon: bool = False) -> None:
        """Serve it."""
        raise NotImplementedError

    def _send_error(self, error: RouterError) -> None:
        """Answer, and close."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        if not self._intake.enter(self._address):
            transport.abort()
            return
        sock = transport.get_extra_info("socket")
        if sock is not None and self._intake.descriptors.short(sock.fileno()):
            self._send_error(Unavailable("Too many connections are open here; try again.", retry_after_s=1))
            return
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._intake.leave(self._address)
        self._drop(self._held)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Uvicorn calls this when the service stops. Over TLS a client that says nothing would hold an idle connection
        open until it had answered our farewell.
        """
        super().shutdown()
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self.loop.call_later(FAREWELL_S, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        """What follows a request in the same piece may be no HTTP: then the request is not begun either."""
        if self._ended:
            return
        self._fruitless += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_again(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            self.loop.call_exception_handler(
                {"message": "a mistake in reading a request", "exception": error.__context__ or error}
            )
            self._send_error(RouterError(MISTAKE))
        except httptools.HttpParserError:
            self.send_400_response("This is no HTTP request.")
        if self._unwhole and not self._ended:
            self._more_to_come()
        ready = self._ready
        if ready is not None:
            self._ready = None
            if not self._ended:
                self._begin(ready)

    def _more_to_come(self) -> None:
        """A request is not whole yet. Most are in one piece, and need no timer."""
        if self._fruitless > MOST_FRUITLESS:  # the parser holds a header until it ends, however long
            self._send_error(HeadTooLarge(f"A request's head may have {MOST_FRUITLESS} bytes: send less in it."))
        elif self._deadline is None:
            self._arm()

    def _read_again(self, rest: bytes) -> None:
        """The same request without its offer to upgrade, and what came after its head."""
        self._offered = False
        if self._ended:
            return
        head = without_offer(self.parser.get_method(), self.url, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(head + rest)

    def on_header(self, name: bytes, value: bytes) -> None:
        """As uvicorn's, but for what is asked once of them all."""
        self.headers.append((name.lower(), value))

    def on_message_begin(self) -> None:
        """As uvicorn's, but for its scope: only a request that goes on to the ASGI application needs one."""
        self.url = b""
        self.headers = []
        self._unwhole = True
        self._fruitless = 0

    def _describe(self) -> None:
        """Uvicorn's scope of the request whose head was read."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects_100(headers)
        self.headers += headers  # the list that stands in the scope

    def _unset_keepalive_if_required(self) -> None:
        """Uvicorn cancels its timer at every read and makes a new one after every answer: ours stays until due."""

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._quiet_since = self.loop.time()
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has been quiet for so long; a busy one is looked at again after its next answer."""
        self.timeout_keep_alive_task = None
        if self._unwhole or not self.cycle.response_complete:
            return
        left_s = self._quiet_since + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(READ_S, self._too_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._answering():
            self._arm()  # an answer is under way: it comes first
        elif not self.transport.is_closing():
            self._send_error(RequestTimeout(f"The request was not whole within {READ_S:g} s."))

    def _drop(self, size: int) -> None:
        """So many bytes of bodies are held no longer."""
        self._held -= size
        self._intake.give(size)
