"""Answer bytes on their way from the gate's frames to the client: in order and whole, however it stalls."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from policies import Endpoint
from router.answer import EVENT_STREAM, Answer, deliver
from router.channel.client import GateClient
from router.channel.exchange import Exchange
from router.channel.frames import COUNT, CREDIT_EACH, Kind, Splitter, pack
from router.channel.link import Link
from router.channel.messages import Head, Open
from router.channel.work import Work
from router.reply import Headers
from router.tiers import Attempt
from tests.router.test_frames import Wire, arrive


class Client:
    """A Reply that takes nothing while it is stalled."""

    def __init__(self) -> None:
        self.started = False
        self.reads = asyncio.Event()
        self.reads.set()
        self.got: list[bytes] = []
        self.finished = False
        self.poured = 0

    async def start(self, status: int, headers: Headers) -> None:
        self.started = True

    async def write(self, data: bytes) -> None:
        while not self.reads.is_set():
            await self.reads.wait()
        self.got.append(data)

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        raise AssertionError("it is a stream")

    def pour(self, data: bytes | memoryview) -> bool:
        if self.reads.is_set():
            self.got.append(bytes(data))
            self.poured += 1
            return True
        return False

    async def finish(self) -> None:
        self.finished = True


def opened() -> tuple[Link, Wire, Exchange]:
    client, wire = GateClient(), Wire()
    client._link = link = client.link()
    link.connection_made(wire)
    exchange = client.exchange(Open("r", "a", "m", Endpoint.CHAT, "t", "u", 1, True, 0, "digest"), b"")
    return link, wire, exchange


async def relay(steps: list[str], size: int) -> tuple[Client, list[bytes], int]:
    """Frames and stalls in this order; what the client got, what was sent, and what was credited."""
    link, wire, exchange = opened()
    client, sent = Client(), [b"first"]
    answer = Answer(Attempt(1, "t", "u", wait=False), exchange, Head(200, EVENT_STREAM), b"first", streamed=True)
    work = Work(deliver(answer, client, [], None), asyncio.get_running_loop(), lambda _: None)
    work.begin()
    for step in steps:
        if step == "stall":
            client.reads.clear()
        elif step == "read":
            client.reads.set()
        elif step == "pass":
            await asyncio.sleep(0)
        else:  # so many frames in one read
            more = [b"%d:" % (len(sent) + number) + b"." * size for number in range(int(step))]
            sent += more
            arrive(link, b"".join(pack(1, Kind.DATA, data) for data in more))
    client.reads.set()
    arrive(link, pack(1, Kind.END))
    async with asyncio.timeout(5):
        while not client.finished:
            await asyncio.sleep(0)
    frames = Splitter().feed(b"".join(wire.written))
    credited = sum(COUNT.unpack(payload)[0] for _, kind, payload in frames if kind is Kind.CREDIT)
    return client, sent, credited


@given(st.lists(st.sampled_from(["stall", "read", "pass", "1", "3"]), max_size=30))
def test_nothing_overtakes_what_waits_for_the_client(steps: list[str]) -> None:
    client, sent, _ = asyncio.run(relay(steps, 5))
    assert b"".join(client.got) == b"".join(sent)


async def test_what_goes_straight_on_is_credited_too() -> None:
    client, sent, credited = await relay(["1", "pass"] * 10, CREDIT_EACH // 4)
    assert client.poured == len(sent) - 1
    assert credited >= sum(map(len, sent)) - CREDIT_EACH
