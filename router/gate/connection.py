"""One HTTP/1.1 connection to an upstream: llhttp parses (strict), nothing is followed, upgraded or decompressed.

Bodies are bounded by back-pressure: the socket is not read while more than HIGH bytes wait for the worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from router.channel.messages import Cause

HIGH = 256 * 1024
MOST_HEADERS = 100
LARGEST_HEAD = 32 * 1024
MOST_FRUITLESS = 64 * 1024  # bytes read one after another that bring nothing of a body: a head, trailers, chunk sizes


class UpstreamFault(Exception):
    """What went wrong on the way to, or at, an upstream. `detail` names no content; `found`: the operator's alone."""

    def __init__(self, cause: Cause, detail: str = "", retry_after_s: float = 0.0, found: str = "") -> None:
        super().__init__(f"{cause}: {detail}")
        self.found = found
        self.cause = cause
        self.detail = detail
        self.retry_after_s = retry_after_s


class UpstreamConnection(asyncio.Protocol):
    """Send one request, read one answer, again and again while both sides keep the connection alive."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._chunks: list[bytes] = []
        self._own_chunks = -1  # of them, once the answer is complete: what follows is no part of it
        self.on_body = self._chunks.append  # httptools calls it: the list itself, a call less for each event
        self._on_news: Callable[[], None] | None = None
        self._paused = False
        self._head_bytes = 0
        self._fruitless = 0
        self._keep_alive = False
        self.fault: UpstreamFault | None = None  # why nothing more will come
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.head_complete = False
        self.complete = False
        self.received = 0
        self.address = ""  # where it leads, as the ledger will say: an address and a port, or that it is a socket

    # --- asking ---

    def send(self, request: bytes, on_news: Callable[[], None] | None = None) -> None:
        """Begin one exchange; the request is written whole.

        `on_news` is told of all that comes of it: after each read, and of the connection's end. Without it
        `head` and `chunk` may be awaited.
        """
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._on_news = on_news
        self._chunks.clear()
        self._head_bytes = self._fruitless = self.received = self.status = 0
        self._own_chunks = -1
        self.headers = {}
        self.head_complete = self.complete = False
        if self._transport is None:
            raise UpstreamFault(Cause.BROKE, "closed before the request")
        self._transport.write(request)

    async def head(self) -> None:
        """Wait for status and headers."""
        while not self.head_complete:
            self.check()
            await self._wait()

    async def chunk(self) -> bytes | None:
        """The next body bytes, or None when the answer is whole."""
        while not self._chunks:
            if self.complete:
                return None
            self.check()
            await self._wait()
        return self.take()

    def take(self) -> bytes:
        """The body bytes that have come since; b"" if there are none."""
        chunks = self._chunks
        if not chunks:
            return b""
        if len(chunks) == 1:
            data = chunks.pop()
        else:
            data = b"".join(chunks)
            chunks.clear()
        if self._paused:
            self.pause(paused=False)
        return data

    def check(self) -> None:
        """UpstreamFault when nothing more will come."""
        if self.fault is not None:
            raise self.fault

    def pause(self, *, paused: bool) -> None:
        """Read nothing for now, or read again."""
        if self._transport is not None and paused is not self._paused:
            self._paused = paused
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def release(self) -> bool:
        """Nobody waits for news any more, or keeps it from reading. Whether it can serve again."""
        self._on_news = None
        if self._paused:
            self.pause(paused=False)
        transport = self._transport
        whole = self.complete and self._keep_alive and self.fault is None
        return whole and transport is not None and not transport.is_closing()

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def texts(self) -> dict[str, str]:
        """The headers of the answer, names in lower case."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers.items()}

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def fileno(self) -> int:
        """Of the socket; -1 when there is none any more."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        return int(sock.fileno()) if sock is not None else -1

    def peername(self) -> object:
        return self._transport.get_extra_info("peername") if self._transport is not None else None

    def sockname(self) -> object:
        return self._transport.get_extra_info("sockname") if self._transport is not None else None

    def peer_certificate(self) -> bytes:
        """The upstream's certificate, DER; of a TLS connection only."""
        tls = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return tls.getpeercert(binary_form=True) if tls is not None else b""

    def certificate_ends(self) -> str:
        """When the upstream's certificate ends, as ssl.cert_time_to_seconds reads it; "" where there is none."""
        tls = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return str((tls.getpeercert() or {}).get("notAfter", "")) if tls is not None else ""

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._on_news is not None:
            self._on_news()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, cause: Cause, detail: str) -> None:
        """Who waits is woken by whoever found this: the parser may be at work above us."""
        if self.fault is None:
            self.fault = UpstreamFault(cause, detail)
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self.complete:
            self._fail(Cause.BAD_ANSWER, "bytes that nobody asked for")
            return
        size, before = len(data), len(self._chunks)
        self.received += size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._loop.call_exception_handler(
                {"message": "a mistake in reading an answer", "exception": error.__context__ or error}
            )
            self._fail(Cause.MISTAKE, "a mistake of ours")
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            upgrade = isinstance(error, httptools.HttpParserUpgrade)
            self._fail(Cause.BAD_ANSWER, "an upgrade" if upgrade else type(error).__name__)
        if len(self._chunks) > before:
            self._fruitless = 0
        else:
            self._brought_nothing(size)
        if self._own_chunks >= 0:
            del self._chunks[self._own_chunks :]
        if self._on_news is not None:
            self._on_news()
        else:
            self._wake()
        if self._chunks and sum(map(len, self._chunks)) > HIGH:
            self.pause(paused=True)

    def _brought_nothing(self, size: int) -> None:
        """So many bytes more of a head, of trailers or of a chunk's size: the parser holds a header until it ends."""
        self._fruitless += size
        if self._fruitless > MOST_FRUITLESS:
            self._fail(Cause.BAD_ANSWER, "a head or trailers that never end")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = self._parser = None
        if not self.complete and self.fault is None:
            self.fault = UpstreamFault(Cause.BROKE, "closed before the answer was whole")
        self._wake()

    # --- httptools ---

    def on_message_begin(self) -> None:
        if self.complete:
            self._fail(Cause.BAD_ANSWER, "a second answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        self._head_bytes += len(name) + len(value)
        if len(self.headers) >= MOST_HEADERS or self._head_bytes > LARGEST_HEAD:
            self._fail(Cause.BAD_ANSWER, "too many headers")
            return
        if self.head_complete:
            return  # a trailer: what the head said was judged, and stays
        key = name.lower()
        if key in self.headers and key in (b"content-type", b"content-length", b"transfer-encoding"):
            self._fail(Cause.BAD_ANSWER, f"two {key.decode('latin-1')} headers")
            return
        self.headers[key] = value

    def on_headers_complete(self) -> None:
        if self.complete or self.fault is not None:
            return
        status = self._parser.get_status_code() if self._parser is not None else 0
        if 100 <= status < 200:
            self.headers = {}
            return
        self.status, headers = status, self.headers
        if 200 <= status < 300 and b"content-length" in headers and b"content-encoding" not in headers:
            self.head_complete = True
            return
        if fault := _border(status, headers):
            self._fail(Cause.REDIRECT if 300 <= status < 400 else Cause.BAD_ANSWER, fault)
            return
        self.head_complete = True

    def on_message_complete(self) -> None:
        if self.head_complete and self._parser is not None and not self.complete:
            self.complete = True
            self._own_chunks = len(self._chunks)
            self._keep_alive = self._parser.should_keep_alive()  # only told now


def _border(status: int, headers: dict[bytes, bytes]) -> str:
    """Why an answer with this head may not come in; "" if it may."""
    if not 200 <= status < 600:
        return f"status {status}: there is none such"
    if 300 <= status < 400:
        return f"status {status}: redirects are never followed"
    if headers.get(b"content-encoding", b"identity") != b"identity":
        return "a compressed answer that nobody asked for"
    if b"transfer-encoding" not in headers and b"content-length" not in headers and status != 204:
        return "an answer that does not tell its length"
    return ""
