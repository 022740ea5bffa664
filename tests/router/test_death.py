"""Whether a program of ours lives is asked by a connection, and this one stays nowhere."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from router.channel.messages import Cause
from router.gate.connection import UpstreamFault
from router.gate.death import of_a_program
from router.gate.pool import Pool


class Connection:
    def __init__(self, *, alive: bool) -> None:
        self.alive = alive
        self.aborted = 0

    def abort(self) -> None:
        self.aborted += 1


class OnePool:
    """A pool that dials one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.dialled = asyncio.Event()

    async def fresh(self, timeout_s: float) -> Connection:
        self.dialled.set()
        return self.connection


@pytest.mark.parametrize(("alive", "cause"), [(True, Cause.BROKE), (False, Cause.COLD)])
async def test_it_is_let_go_whatever_it_says(*, alive: bool, cause: Cause) -> None:
    connection = Connection(alive=alive)
    pool = cast("Pool", OnePool(connection))
    fault = await of_a_program(UpstreamFault(Cause.BROKE, "it broke"), pool, None)
    assert (fault.cause, connection.aborted) == (cause, 1)


async def test_it_is_let_go_when_nobody_waits_for_the_answer() -> None:
    connection = Connection(alive=True)
    pool = OnePool(connection)
    asking = asyncio.ensure_future(of_a_program(UpstreamFault(Cause.BROKE, "it broke"), cast("Pool", pool), None))
    await pool.dialled.wait()
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert connection.aborted == 1
