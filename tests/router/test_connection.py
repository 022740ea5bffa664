"""What one read brings to an upstream's connection, without a socket."""

from __future__ import annotations

import asyncio

import pytest

from router.channel.messages import Cause
from router.gate import connection as module
from router.gate.connection import UpstreamConnection, UpstreamFault

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Socket(asyncio.Transport):
    """Takes what is written; tells whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self._reads = True
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        return

    def is_reading(self) -> bool:
        return self._reads

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True

    def abort(self) -> None:
        self.aborted = True


def asked() -> tuple[UpstreamConnection, Socket]:
    connection, transport = UpstreamConnection(), Socket()
    connection.connection_made(transport)
    connection.send(b"GET", lambda: None)
    return connection, transport


async def test_a_second_answer_in_the_same_read_is_no_part_of_the_first() -> None:
    connection, transport = asked()
    connection.data_received(HEAD % 2 + b"ab" + HEAD % 2 + b"cd")
    assert connection.take() == b"ab"
    assert connection.complete
    assert connection.fault is not None
    assert connection.fault.cause is Cause.BAD_ANSWER
    assert transport.aborted


async def test_the_next_answer_is_whole_again() -> None:
    connection, _ = asked()
    connection.data_received(HEAD % 2 + b"ab")
    assert (connection.take(), connection.take()) == (b"ab", b"")
    connection.send(b"GET", lambda: None)
    for piece in (HEAD % 4 + b"c", b"de", b"f"):
        connection.data_received(piece)
    assert connection.take() == b"cdef"
    assert connection.fault is None


async def test_nothing_more_is_read_while_too_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HIGH", 10)
    connection, transport = asked()
    connection.data_received(HEAD % 100 + b"x" * 10)
    assert transport.is_reading()
    connection.data_received(b"x")
    assert not transport.is_reading()
    assert connection.take() == b"x" * 11
    assert transport.is_reading()


@pytest.mark.parametrize(
    ("begins", "goes_on"),
    [
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
        (b"HTTP/1.1 200 OK\r\nX-A", b"a"),
        (b"HTTP/1.1 200 ", b"a"),
        (b"\r\n", b"\r\n"),
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
        (CHUNKED + b"2\r\nab\r\n5;a=", b"a"),
        (CHUNKED + b"2\r\nab\r\n0\r\nX-A: ", b"a"),
        (CHUNKED + b"2\r\nab\r\n0\r\n", b"X-A: a\r\n"),
    ],
    ids=["a value", "a name", "a reason", "blank lines", "interim answers", "a chunk's size", "a trailer", "trailers"],
)
async def test_a_head_and_trailers_that_never_end_are_no_answer(begins: bytes, goes_on: bytes) -> None:
    """The parser holds a header until it ends, and copies it for each read."""
    connection, transport = asked()
    connection.data_received(begins)
    piece = goes_on * (4096 // len(goes_on))
    for _ in range(100):
        if connection.fault is None:
            connection.data_received(piece)
    assert connection.received < 100 * 1024
    assert connection.fault is not None
    assert connection.fault.cause is Cause.BAD_ANSWER
    assert transport.aborted


async def test_a_long_answer_in_small_pieces_is_one() -> None:
    connection, _ = asked()
    connection.data_received(CHUNKED)
    for _ in range(2000):
        connection.data_received(b"1;" + b"a" * 60 + b"\r\n")
        connection.data_received(b"x\r\n")
    connection.data_received(b"0\r\n\r\n")
    assert connection.take() == b"x" * 2000
    assert (connection.fault, connection.complete) == (None, True)


@pytest.mark.parametrize("together", [True, False])
async def test_trailers_tell_nothing_about_the_answer(*, together: bool) -> None:
    """However they come: those that were read with the head stood among its headers."""
    connection, _ = asked()
    pieces = [CHUNKED, b"2\r\nab\r\n0\r\nContent-Type: text/event-stream\r\nRetry-After: 9\r\n\r\n"]
    for piece in [b"".join(pieces)] if together else pieces:
        connection.data_received(piece)
    assert connection.texts() == {"transfer-encoding": "chunked"}
    assert (connection.take(), connection.complete, connection.fault) == (b"ab", True, None)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    "lines",
    [b"Content-Type: text/html\r\nContent-Type: text/plain\r\n", b"".join(b"X-%d: a\r\n" % one for one in range(200))],
    ids=["two types", "many"],
)
async def test_a_head_with_a_fault_in_it_is_none_however_it_comes(lines: bytes, *, together: bool) -> None:
    """In one read with its body it counted as whole: what stood behind the fault was not looked at."""
    connection, transport = asked()
    pieces = [HEAD[:-2] % 2, lines, b"\r\nab"]
    for piece in [b"".join(pieces)] if together else pieces:
        if not transport.aborted:
            connection.data_received(piece)
    assert (connection.head_complete, connection.complete) == (False, False)
    with pytest.raises(UpstreamFault, match="headers"):
        connection.check()


async def test_an_upgrade_is_no_answer() -> None:
    connection, transport = asked()
    connection.data_received(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    with pytest.raises(UpstreamFault, match="bad_answer: an upgrade"):
        connection.check()
    assert transport.aborted
