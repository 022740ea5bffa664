"""Kept connections, one pool per upstream: an exchange with one upstream can never ride on another's connection."""

from __future__ import annotations

import asyncio
from collections import deque

from policies import UpstreamRule
from router.gate.connection import UpstreamConnection
from router.gate.dial import Dialler

MOST_IDLE = 64
IDLE_S = 4.0  # uvicorn, under most model servers, closes after 5 s


class Pool:
    """Connections to one upstream that wait for their next exchange; the newest is used first."""

    def __init__(self, rule: UpstreamRule, dialler: Dialler) -> None:
        self.rule = rule
        self._dialler = dialler
        self._idle: deque[tuple[float, UpstreamConnection]] = deque()

    def idle(self) -> UpstreamConnection | None:
        """A kept connection that was alive when we looked, or None."""
        oldest = asyncio.get_running_loop().time() - IDLE_S
        while self._idle:
            since, connection = self._idle.pop()
            if connection.alive and since >= oldest:
                return connection
            connection.abort()
        return None

    async def fresh(self, timeout_s: float) -> UpstreamConnection:
        return await self._dialler.dial(self.rule, timeout_s)

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keep the connection if it can serve again, else close it."""
        if not connection.reusable:
            connection.abort()
            return
        self._idle.append((asyncio.get_running_loop().time(), connection))
        if len(self._idle) > MOST_IDLE:
            self._idle.popleft()[1].abort()

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[1].abort()
