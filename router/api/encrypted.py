"""TLS on the listener: a connection is counted before its handshake, which has a deadline, and shows what is in force.

uvloop makes the same protocol when it is given a context; made here, each connection takes the context of its moment,
so a reload changes what the next client is shown, and connections under way keep what they have.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvloop.loop import SSLProtocol  # type: ignore[attr-defined]  # uvloop's stubs leave it out

from router.api.intake import Intake

HANDSHAKE_S = 10.0
SHUTDOWN_S = 30.0  # to send what is left and have the client's close_notify


class TlsConnection(SSLProtocol):  # type: ignore[misc]  # see above
    """The server's side of one TLS connection; `inner` speaks HTTP over it once the handshake is done."""

    def __init__(self, inner: asyncio.Protocol, context: Any, intake: Intake) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            loop,
            inner,
            context,
            None,
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_S,
            ssl_shutdown_timeout=SHUTDOWN_S,
        )
        self._intake = intake
        self._address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        admitted = self._intake.enter(self._address)
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if not admitted or (sock is not None and self._intake.descriptors.short(sock.fileno())):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._intake.leave(self._address)
        super().connection_lost(exc)
