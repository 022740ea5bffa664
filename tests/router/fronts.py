"""A worker's server on a real socket, and a client that sends it bytes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import uvicorn

from router.api.app import Application
from router.api.intake import Intake
from router.api.protocol import RouterProtocol
from router.channel.steering import Steering
from router.logs import Log
from router.view import View
from tests.router.house import House, Script, house, scripted

Over = Callable[[asyncio.Protocol], asyncio.BaseProtocol]


def _bare(protocol: asyncio.Protocol) -> asyncio.BaseProtocol:
    return protocol


@asynccontextmanager
async def serving(parts: House, keep_alive_s: int = 5, over: Over = _bare) -> AsyncIterator[int]:
    """A worker's server before a gate; its port. `over` wraps each connection's protocol, in TLS for instance."""
    application = Application(parts.snapshot, parts.client, View(), Log("test"), Steering(lambda _: None))
    intake = Intake()

    def made(**named: Any) -> asyncio.BaseProtocol:
        return over(RouterProtocol(lambda: application, Log("test"), intake, **named))

    config = uvicorn.Config(
        application,
        http=cast("Any", made),
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        server_header=False,
        timeout_keep_alive=keep_alive_s,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await running


@asynccontextmanager
async def front(script: Script, directory: Path, over: Over = _bare) -> AsyncIterator[tuple[House, int]]:
    async with scripted(script) as port, house(port, directory) as parts, serving(parts, over=over) as front_port:
        yield parts, front_port


async def talk(
    port: int, *pieces: bytes, pause_s: float = 0.0, half_close: bool = False, tls: ssl.SSLContext | None = None,
    most_s: float = 0.4,
) -> bytes:  # fmt: skip
    """Send pieces, read until the server closes, or for so long."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause_s)
    if half_close:
        writer.write_eof()
    received = b""
    try:
        async with asyncio.timeout(most_s):
            while data := await reader.read(65536):
                received += data
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    return received


def statuses(received: bytes) -> list[int]:
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]
