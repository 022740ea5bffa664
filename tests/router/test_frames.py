"""Frames survive any cutting of the byte stream, and nonsense is refused."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Endpoint
from router.channel.client import GateClient
from router.channel.exchange import Exchange
from router.channel.frames import (
    HEADER,
    LARGEST,
    ROOM,
    SIZE,
    ChannelError,
    Kind,
    Splitter,
    answered,
    pack,
    pack_answer,
)
from router.channel.link import FULL, GATHERED, LARGE, Link, pair
from router.channel.messages import Head, Open, encode

FRAMES = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.sampled_from(Kind), st.binary(max_size=300)), max_size=20)


@given(FRAMES, st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(
    frames: list[tuple[int, Kind, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(pack(*frame) for frame in frames)
    splitter, out, at, turn = Splitter(), [], 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        out += list(splitter.feed(stream[at : at + size]))
        at, turn = at + size, turn + 1
    assert out == frames


@pytest.mark.parametrize("size", [ROOM - SIZE - 1, ROOM - SIZE, ROOM - SIZE + 1, ROOM, 3 * ROOM])
@pytest.mark.parametrize("cut", [ROOM // 2 - 1, ROOM, 10 * ROOM])
def test_there_is_room_for_a_frame_of_any_size_while_it_comes(size: int, cut: int) -> None:
    frames = [(1, Kind.BODY, b"before"), (2, Kind.STATES, bytes(range(250)) * (size // 250) + b"." * (size % 250))]
    stream = b"".join(pack(*frame) for frame in [*frames, *frames, *[(3, Kind.END, b"")] * 2])
    splitter, out = Splitter(), []
    for at in range(0, len(stream), cut):
        out += list(splitter.feed(stream[at : at + cut]))
        assert len(splitter.room)
    assert out == [*frames, *frames, *[(3, Kind.END, b"")] * 2]
    assert len(splitter.room) == ROOM


def test_a_frame_larger_than_any_of_ours_is_refused_before_it_is_read() -> None:
    with pytest.raises(ChannelError, match="bytes"):
        list(Splitter().feed(HEADER.pack(LARGEST + 1, 1, Kind.DATA)))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ChannelError, match="unknown kind 99"):
        list(Splitter().feed(HEADER.pack(0, 1, 99)))


class Wire(asyncio.Transport):
    """Keeps what is written, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        return


def arrive(link: Link, data: bytes) -> None:
    """As the loop does with what it reads."""
    link.get_buffer(-1)[: len(data)] = data
    link.buffer_updated(len(data))


def linked() -> tuple[GateClient, Wire]:
    client, wire = GateClient(), Wire()
    client._link = client.link()
    client._link.connection_made(wire)
    return client, wire


def opening(client: GateClient) -> Exchange:
    return client.exchange(Open("r-1", "alice", "m", Endpoint.CHAT, "t", "u", 1, False, 4, "digest"), b"body")


def kinds(data: bytes) -> list[Kind]:
    return [kind for _, kind, _ in Splitter().feed(data)]


async def test_what_is_asked_in_one_pass_of_the_loop_leaves_in_one_piece_as_it_ends() -> None:
    client, wire = linked()
    opening(client)
    opening(client)
    assert wire.written == []
    await asyncio.sleep(0)
    assert [kinds(data) for data in wire.written] == [[Kind.OPEN, Kind.BODY] * 2]
    opening(client)
    await asyncio.sleep(0)
    assert [kinds(data) for data in wire.written[1:]] == [[Kind.OPEN, Kind.BODY]]


async def test_the_gate_need_not_wait_until_all_have_asked() -> None:
    client, wire = linked()
    for _ in range(GATHERED):
        opening(client)
    assert wire.written
    await asyncio.sleep(0)
    assert [kind for data in wire.written for kind in kinds(data)] == [Kind.OPEN, Kind.BODY] * GATHERED


async def test_a_large_body_leaves_with_what_was_asked_before_it() -> None:
    client, wire = linked()
    body = b"x" * LARGE
    message = Open("r-1", "alice", "m", Endpoint.CHAT, "t", "u", 1, False, LARGE, "digest")
    opening(client)
    client.exchange(message, body)
    opening(client)
    assert wire.written == []
    await asyncio.sleep(0)
    assert [kinds(data) for data in wire.written] == [[Kind.OPEN, Kind.BODY] * 3]
    for _ in range(FULL // LARGE):
        client.exchange(message, body)
    assert [kinds(data) for data in wire.written[1:]] == [[Kind.OPEN, Kind.BODY] * (FULL // LARGE)]


async def test_what_was_asked_leaves_before_the_channel_is_closed_and_nothing_after() -> None:
    client, wire = linked()
    opening(client)
    client.close()
    assert len(wire.written) == 1
    assert client._link is not None
    client._link.connection_lost(None)
    await asyncio.sleep(0)
    assert len(wire.written) == 1


@given(st.integers(-1, 2**40), st.binary(max_size=300), st.binary(max_size=300))
def test_an_answer_in_one_frame_is_taken_apart_as_it_was_put_together(record: int, head: bytes, body: bytes) -> None:
    ((number, kind, payload),) = Splitter().feed(pack_answer(7, record, head, body))
    assert (number, kind, answered(payload)) == (7, Kind.ANSWER, (record, head, body))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\0" * 9, id="too short"),
        pytest.param(b"\0" * 8 + b"\2\0\x91", id="no head"),
        pytest.param(
            pack_answer(1, 0, encode(Head(200, "application/json")), b"")[HEADER.size :][:8]
            + b"\xff\xff"
            + encode(Head(200, "application/json")),
            id="a head longer than the frame",
        ),
    ],
)
def test_an_answer_that_is_none_is_refused(payload: bytes) -> None:
    with pytest.raises(ChannelError):
        Exchange(GateClient(), 1).take(Kind.ANSWER, payload)


async def test_an_answer_in_one_frame_is_whole() -> None:
    client, _ = linked()
    exchange = opening(client)
    assert client._link is not None
    head = Head(200, "application/json")
    arrive(client._link, pack_answer(1, 5, encode(head), b"{}"))
    assert (await exchange.opened(), exchange.record, exchange.over) == (head, 5, True)
    assert [await exchange.chunk(), await exchange.chunk()] == [b"{}", None]


def taken_at_once(end: socket.socket) -> int:
    end.setblocking(False)
    taken = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            taken += end.send(bytes(64 * 1024))
    return taken


def test_a_channel_holds_more_bodies_than_any_socket_does() -> None:
    mine, theirs = pair()
    plain, other = socket.socketpair()
    with mine, theirs, plain, other:
        assert taken_at_once(theirs) > 1.5 * taken_at_once(plain)
