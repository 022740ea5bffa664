"""Several addresses of one host share one patience, over real sockets and with dials of a known length."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from policies import Destination, Reach, UpstreamRule
from router.channel.messages import Cause
from router.gate.connection import UpstreamConnection, UpstreamFault
from router.gate.dial import Dialler
from router.gate.staggered import Dial, apart_s, first_connection
from tests.router.house import answering, plain, scripted


async def test_a_silent_address_costs_its_share_only(tmp_path: Path) -> None:
    """Two addresses of one name: the first drops what comes (its queue is full), the second one answers."""
    async with scripted(answering(plain(b"{}"))) as port, deaf("127.0.0.2", port):
        addresses = ("127.0.0.2", "127.0.0.1")
        destination = Destination("http", "gpu.lan", port, "", pins=("127.0.0.0/8",), addresses=addresses)
        connection = await Dialler(tmp_path).dial(UpstreamRule("u", Reach.HOST, destination=destination), 4.0)
        assert connection.peername() == ("127.0.0.1", port)
        connection.abort()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def deaf(host: str, port: int) -> AsyncIterator[None]:
    """A listener that takes nothing more."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((host, port))
        yield


class Connected:
    """What stands for a connection in the next tests."""

    closed = False

    def abort(self) -> None:
        self.closed = True


def dials(*outcomes: tuple[float, object]) -> tuple[list[Dial], list[float]]:
    """Dials that end after so many seconds with a fault or a connection; and when each began."""
    began: list[float] = []

    async def one(seconds: float, outcome: object) -> UpstreamConnection:
        began.append(asyncio.get_running_loop().time())
        await asyncio.sleep(seconds)
        if isinstance(outcome, UpstreamFault):
            raise outcome
        return cast("UpstreamConnection", outcome)

    return [partial(one, seconds, outcome) for seconds, outcome in outcomes], began


async def test_the_first_to_answer_wins_and_the_others_are_closed() -> None:
    early, late = Connected(), Connected()
    begun, _ = dials((0.03, late), (0.0, early))
    assert await first_connection(begun, 0.01) is cast("object", early)
    assert not early.closed


async def test_of_two_that_answer_in_one_moment_one_is_closed() -> None:
    one, two = Connected(), Connected()
    now = asyncio.Event()

    async def with_all(connection: Connected) -> UpstreamConnection:
        await now.wait()
        return cast("UpstreamConnection", connection)

    asyncio.get_running_loop().call_later(0.1, now.set)
    won = await first_connection([partial(with_all, one), partial(with_all, two)], 0.01)
    await asyncio.sleep(0.01)
    assert [each.closed for each in (one, two)] == [cast("object", won) is not each for each in (one, two)]


async def test_a_failed_address_is_not_waited_for_and_the_last_fault_is_told() -> None:
    none, began = dials((0.0, UpstreamFault(Cause.REFUSED, "one")), (0.0, UpstreamFault(Cause.TLS, "two")))
    with pytest.raises(UpstreamFault, match="two"):
        await first_connection(none, 30.0)
    assert len(began) == 2
    assert apart_s(2, 2.0) == 0.25
    assert apart_s(64, 2.0) < 0.04
