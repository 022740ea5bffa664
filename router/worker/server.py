"""uvicorn's server, with a quieter clock: it looks at the time once a second, and hears at once that it is to stop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import FrameType

import uvicorn.server
from uvicorn.config import Config

TICK_S = 1.0  # the Date header's step


class Server(uvicorn.server.Server):
    """uvicorn wakes ten times a second to see whether it should stop: most of what an idle worker costs."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Take no more connections; end when the requests under way are answered."""
        self.should_exit = True
        self._stopping.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._stopping.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # a tick of this number sets the Date
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._stopping.wait()
