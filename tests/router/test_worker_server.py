"""The worker's server: it stops when it is told to, and its clock goes on."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from router.worker import server as module
from router.worker.server import Server


async def nobody(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError


def quiet() -> Server:
    return Server(uvicorn.Config(nobody, interface="asgi3", lifespan="off", log_config=None, ws="none"))


@pytest.mark.parametrize("stop", [Server.stop, lambda server: server.handle_exit(signal.SIGTERM, None)])
async def test_it_hears_at_once_that_it_is_to_stop(
    stop: Callable[[Server], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TICK_S", 3600.0)
    monkeypatch.setattr(signal, "raise_signal", lambda _: None)  # uvicorn's, when it has stopped: it would end pytest
    server = quiet()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        stop(server)
        async with asyncio.timeout(30):
            await running


async def test_the_date_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_S", 0.001)
    server = quiet()
    loop = asyncio.create_task(server.main_loop())
    seen: set[tuple[bytes, bytes]] = set()
    async with asyncio.timeout(30):
        while len(seen) < 2:
            seen |= set(server.server_state.default_headers)
            await asyncio.sleep(0.01)
    server.stop()
    await loop
    assert {name for name, _ in seen} == {b"date"}
