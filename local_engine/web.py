"""The web server before the engine: uvicorn, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator

import uvicorn

from local_engine.api.app import make_app
from local_engine.api.front import Front

KEEP_ALIVE = 75


class Server(uvicorn.Server):
    """Ends with status 0 on SIGTERM or SIGINT; uvicorn itself would raise the signal again."""

    broken = False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.handle_exit, signum, None)
        yield


def make_server(front: Front, drain: float) -> Server:
    """`drain`: seconds that running requests have once it is told to end."""
    config = uvicorn.Config(
        make_app(front),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(drain),
    )
    return Server(config)
