"""Kept connections, one pool per upstream: an exchange with one upstream can never ride on another's connection."""

from __future__ import annotations

import ssl
import time
from collections import deque

from policies import UpstreamRule
from router.channel.messages import Cause
from router.gate.answer_head import Openings
from router.gate.connection import UpstreamConnection, UpstreamFault
from router.gate.dial import Dialler
from router.gate.tls import tls_context
from router.settings.snapshot import TlsMaterial

MOST_IDLE = 64
IDLE_S = 4.0  # uvicorn, under most model servers, closes after 5 s


class Pool:
    """Connections to one upstream that wait for their next exchange; the newest is used first."""

    def __init__(self, rule: UpstreamRule, dialler: Dialler, material: TlsMaterial | None = None) -> None:
        self.rule = rule
        self.openings = Openings(rule)
        self._dialler = dialler
        self.material = material
        self.asked = ""  # whom the newest question about the upstream itself was sent to, as the ledger will say
        self.heard = 0  # bytes that came back for it, whatever they were
        self.certificate_ends = 0.0  # of the one that was shown last, UNIX time
        self._tls: ssl.SSLContext | None = None  # made of it at the first dial
        self._idle: deque[tuple[float, UpstreamConnection]] = deque()
        self._retired = False

    def idle(self) -> UpstreamConnection | None:
        """A kept connection that was alive when we looked, or None."""
        while self._idle:
            since, connection = self._idle.pop()
            if connection.alive and since >= time.monotonic() - IDLE_S:
                return connection
            connection.abort()
        return None

    async def fresh(self, timeout_s: float) -> UpstreamConnection:
        if self.material is not None and self._tls is None:
            try:
                self._tls = tls_context(self.material)
            except OSError as error:  # ssl.SSLError is one
                raise UpstreamFault(Cause.TLS, f"its certificates cannot be used: {error.strerror}") from None
        connection = await self._dialler.dial(self.rule, timeout_s, self._tls)
        if ends := connection.certificate_ends():
            self.certificate_ends = float(ssl.cert_time_to_seconds(ends))
        return connection

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keep the connection if it can serve again, else close it."""
        if not connection.release() or self._retired:
            connection.abort()
            return
        self._idle.append((time.monotonic(), connection))
        if len(self._idle) > MOST_IDLE:
            self._idle.popleft()[1].abort()

    def flush(self) -> None:
        """Close what is kept; what comes back later is kept again."""
        while self._idle:
            self._idle.pop()[1].abort()

    def retire(self) -> None:
        """Nobody will ask here any more: what is kept is closed, and so is what comes back later."""
        self._retired = True
        self.flush()
