"""Frames survive any cutting of the byte stream, and nonsense is refused."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Endpoint
from router.channel.client import GateClient
from router.channel.frames import HEADER, LARGEST, ChannelError, Kind, Splitter, pack
from router.channel.link import Link
from router.channel.messages import Open

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


async def test_what_opens_an_exchange_leaves_at_once_and_in_one_piece() -> None:
    client, wire = GateClient(), Wire()
    client._link = Link(client._on_frame, client._on_closed, client._on_read)
    client._link.connection_made(wire)
    opening = Open("r-1", "alice", "m", Endpoint.CHAT, "t", "u", 1, False, 4, "digest")
    client.exchange(opening, b"body")
    assert [kind for data in wire.written for _, kind, _ in Splitter().feed(data)] == [Kind.OPEN, Kind.BODY]
    assert len(wire.written) == 1
    await asyncio.sleep(0)
    assert len(wire.written) == 1
