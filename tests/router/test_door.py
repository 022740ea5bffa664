"""The door of a program in a network of its own: both sides of it, with real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from router.channel.messages import Cause
from router.gate.connection import UpstreamFault
from router.gate.door import through_door
from router.supervisor.door import Door, listener


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "a@.door")


@contextmanager
def keeper(path: str, port: int) -> Iterator[Door]:
    door = Door(listener(path).detach(), "127.0.0.1", port)
    yield door
    door.close()


async def knock(path: str, answer: Callable[[], object]) -> socket.socket:
    """The gate's side, while somebody answers at the other."""
    thread = threading.Thread(target=answer)
    asyncio.get_running_loop().call_later(0.05, thread.start)
    try:
        return await asyncio.wait_for(through_door(path), 20)
    finally:
        thread.join(20)


@pytest.fixture
def program() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


async def test_who_knocks_is_given_a_connection_to_the_program(path: str, program: socket.socket) -> None:
    with keeper(path, program.getsockname()[1]) as door, await knock(path, door.let_in) as sock:
        assert sock.getpeername() == program.getsockname()
        accepted, _ = program.accept()
        with accepted:
            await asyncio.get_running_loop().sock_sendall(sock, b"hello")
            assert accepted.recv(16) == b"hello"


async def test_a_program_that_does_not_listen_refuses(path: str, program: socket.socket) -> None:
    port = program.getsockname()[1]
    program.close()
    with keeper(path, port) as door, pytest.raises(UpstreamFault) as failed:
        await knock(path, door.let_in)
    assert failed.value.cause is Cause.REFUSED
    assert "refused" in failed.value.detail


async def test_no_keeper_no_connection(path: str) -> None:
    with pytest.raises(UpstreamFault) as failed:
        await through_door(path)
    assert failed.value.cause is Cause.REFUSED
    listener(path).close()  # one that died leaves its socket's name
    with pytest.raises(UpstreamFault):
        await through_door(path)
    with keeper(path, 1):  # the next one takes the name
        assert Path(path).is_socket()


def hands_out(listening: socket.socket, data: bytes, *descriptors: int) -> Callable[[], None]:
    def answer() -> None:
        visitor, _ = listening.accept()
        with visitor:
            if data:
                socket.send_fds(visitor, [data], list(descriptors))

    return answer


async def test_whatever_else_is_handed_out_is_no_connection(path: str) -> None:
    with listener(path) as listening, Path(__file__).open() as file:
        for data, descriptors in [(b"", ()), (b"\0", ()), (b"\0", (file.fileno(),)), (b"\x6f", (file.fileno(),))]:
            with pytest.raises(UpstreamFault) as failed:
                await knock(path, hands_out(listening, data, *descriptors))
            assert failed.value.cause is Cause.REFUSED


async def test_a_visitor_that_is_gone_does_no_harm(path: str, program: socket.socket) -> None:
    with keeper(path, program.getsockname()[1]) as door:
        door.let_in()  # nobody is there
        with socket.socket(socket.AF_UNIX) as left:
            left.connect(path)
        door.let_in()
        with await knock(path, door.let_in) as sock:
            assert sock.getpeername() == program.getsockname()
