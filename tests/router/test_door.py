"""The door of a program in a network of its own: both sides of it, with real sockets."""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

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


def serve(door: Door) -> None:
    """Let in who knocks, until nobody does any more."""
    idle = 0
    while idle < 2:
        found = select.select(door.visitors, door.connecting, [], 0.05)
        door.look(*found[:2])
        idle = 0 if any(found) or door.connecting else idle + 1


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
    with keeper(path, program.getsockname()[1]) as door, await knock(path, partial(serve, door)) as sock:
        assert sock.getpeername() == program.getsockname()
        accepted, _ = program.accept()
        with accepted:
            await asyncio.get_running_loop().sock_sendall(sock, b"hello")
            assert accepted.recv(16) == b"hello"


async def test_a_program_that_does_not_listen_refuses(path: str, program: socket.socket) -> None:
    port = program.getsockname()[1]
    program.close()
    with keeper(path, port) as door, pytest.raises(UpstreamFault) as failed:
        await knock(path, partial(serve, door))
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
        serve(door)  # nobody is there
        with socket.socket(socket.AF_UNIX) as left:
            left.connect(path)
        serve(door)
        with await knock(path, partial(serve, door)) as sock:
            assert sock.getpeername() == program.getsockname()


@contextmanager
def accepts_nothing() -> Iterator[socket.socket]:
    """A program with no place left in its backlog: the kernel answers nobody who knocks."""
    with ExitStack() as held:
        program = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        sock = held.enter_context(socket.socket())
        sock.connect(program.getsockname())
        yield program


def visitors(path: str, count: int, held: ExitStack) -> list[socket.socket]:
    knocking = [held.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(count)]
    for sock in knocking:
        sock.settimeout(20)
        sock.connect(path)
    return knocking


def test_a_program_that_does_not_accept_yet_keeps_the_others_from_nothing(path: str) -> None:
    """Each of them waits for itself, and none is turned away by the wait of those before it."""
    with accepts_nothing() as program, ExitStack() as held:
        with keeper(path, program.getsockname()[1]) as door:
            knocking = visitors(path, 5, held)
            for _ in knocking:
                door.look(door.visitors, [])
            assert len(door.connecting) == 5, "nobody was waited for"
            held.enter_context(program.accept()[0])
            program.listen(16)
            looking = threading.Thread(target=serve, args=(door,))
            looking.start()
            given = [socket.recv_fds(sock, 1, 1) for sock in knocking]
            looking.join(20)
            for data, descriptors, *_ in given:
                assert data == b"\0"
                held.enter_context(socket.socket(fileno=descriptors[0]))


def test_who_is_never_accepted_is_told_so_in_time(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.supervisor.door.CONNECT_S", 0.1)
    monkeypatch.setattr("router.supervisor.door.MOST", 2)
    with accepts_nothing() as program, ExitStack() as held, keeper(path, program.getsockname()[1]) as door:
        knocking = visitors(path, 3, held)
        for _ in range(2):
            door.look(door.visitors, [])
        assert not door.visitors, "the third waits outside"
        serve(door)
        assert [sock.recv(1)[0] for sock in knocking] == [errno.ETIMEDOUT] * 3


def test_whoever_waits_at_a_door_that_closes_is_told_so(path: str) -> None:
    with accepts_nothing() as program, ExitStack() as held:
        with keeper(path, program.getsockname()[1]) as door:
            [sock] = visitors(path, 1, held)
            door.look(door.visitors, [])
        assert sock.recv(1)[0] == errno.ECONNABORTED


def test_a_keeper_without_descriptors_says_so(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def none_left(*of: Any, **named: Any) -> socket.socket:
        if "fileno" in named:
            return real(*of, **named)
        raise OSError(errno.EMFILE, "Too many open files")

    with ExitStack() as held, keeper(path, 1) as door:
        [sock] = visitors(path, 1, held)
        with monkeypatch.context() as short:
            short.setattr("router.supervisor.door.socket.socket", none_left)
            door.look(door.visitors, [])
        assert sock.recv(1)[0] == errno.EMFILE
