"""TLS on the listener: a connection is counted before its handshake, which has a deadline, and shows what is in force.

uvloop makes the same protocol when it is given a context; made here, each connection takes the context of its moment,
so a reload changes what the next client is shown, and connections under way keep what they have. Who speaks plain HTTP
is told so, as any client can read it; nothing of what it sends is looked at beyond its first byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvloop.loop import SSLProtocol  # type: ignore[attr-defined]  # uvloop's stubs leave it out

from router.api.answers import at_once
from router.api.cycle import Identities
from router.api.intake import Intake
from router.errors import InvalidRequest

HANDSHAKE_S = 10.0
SHUTDOWN_S = 30.0  # to send what is left and have the client's close_notify
LINGER_S: Final = 1.0  # so that a client that still sends its request gets to read the answer
METHOD: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")  # how HTTP begins; a TLS record begins with 20 to 23
PLAIN: Final = "The plain HTTP request was sent to an HTTPS port: begin the address with https://."


class TlsConnection(asyncio.Protocol):
    """One connection until its first bytes: then `inner` speaks HTTP over TLS, once the handshake is done."""

    def __init__(self, inner: asyncio.Protocol, context: Any, intake: Intake) -> None:
        self._inner = inner
        self._context = context
        self._intake = intake
        self._loop = asyncio.get_running_loop()
        self._address = ""
        self._transport: Any = None  # uvloop's, whose protocol can be another
        self._over: asyncio.TimerHandle | None = None  # the time for its first bytes, or to read why it is refused

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        admitted = self._intake.enter(self._address)
        sock = transport.get_extra_info("socket")
        if not admitted or (sock is not None and self._intake.descriptors.short(sock.fileno())):
            transport.abort()
            return
        self._over = self._loop.call_later(HANDSHAKE_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._over is None:
            return  # aborted, or refused: it is read so that it can read
        self._over.cancel()
        if data[0] in METHOD:
            self._over = None
            self._transport.write(at_once(InvalidRequest(PLAIN), Identities().fresh()))
            self._loop.call_later(LINGER_S, self._transport.close)
        else:
            self._shake_hands(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._intake.leave(self._address)
        if self._over is not None:
            self._over.cancel()

    def _shake_hands(self, data: bytes) -> None:
        """The transport is TLS's from here on, with what has been read of it."""
        transport = self._transport
        tls = _Tls(self._loop, self._inner, self._context, lambda: self._intake.leave(self._address))
        transport.pause_reading()  # uvloop reads for each kind of protocol in its own way
        transport.set_protocol(tls)
        transport.resume_reading()
        tls.connection_made(transport)
        while data:
            place = memoryview(tls.get_buffer(len(data)))
            size = min(len(place), len(data))
            place[:size] = data[:size]
            tls.buffer_updated(size)
            data = data[size:]


class _Tls(SSLProtocol):  # type: ignore[misc]  # see above
    """The server's side of one TLS connection; `left` is told of its end."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, inner: asyncio.Protocol, context: Any, left: Callable[[], None]
    ) -> None:
        super().__init__(
            loop,
            inner,
            context,
            None,
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_S,
            ssl_shutdown_timeout=SHUTDOWN_S,
        )
        self._left = left

    def connection_lost(self, exc: Exception | None) -> None:
        self._left()
        super().connection_lost(exc)
