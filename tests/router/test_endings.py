"""How an exchange ends, as one table; and what keeps it from being asked, before it begins."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from router.audit import LedgerUnavailable
from router.channel.messages import Cause, Failure
from router.gate.approach import until_open
from router.gate.clock import Clock
from router.gate.connection import UpstreamFault
from router.gate.deadline import Deadline
from router.gate.doors import Door, Doors
from router.gate.endings import cancelled_because, ending_of
from router.gate.steps import Steps


@pytest.mark.parametrize(
    ("error", "ending", "failure"),
    [
        (UpstreamFault(Cause.BUSY, "full", 2.0), "busy", Failure(Cause.BUSY, "full", 2.0)),
        (LedgerUnavailable("the disk"), "audit_unavailable", Failure(Cause.AUDIT, "the disk", 5.0)),
        (asyncio.CancelledError(), "worker_lost", None),
        (ZeroDivisionError("words"), "internal_error", Failure(Cause.MISTAKE, "a mistake of ours")),
    ],
)
def test_each_end_has_its_word_and_what_the_worker_is_told(
    error: BaseException, ending: str, failure: Failure | None
) -> None:
    assert ending_of(error, "worker_lost") == (ending, failure)


@pytest.mark.parametrize(
    ("said", "ending"),
    [(b"cancelled", "client_left"), (b"hedged", "hedged"), (b"nonsense", "client_left"), (b"\xff", "client_left")],
)
def test_a_worker_cancels_for_a_reason_of_the_list_or_because_its_client_left(said: bytes, ending: str) -> None:
    assert cancelled_because(said) == ending


class ShutTwice:
    """Doors whose door is shut again before who waited is through, once."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.waits: list[float] = []

    async def enter(self, _: Door, wait_s: float) -> None:
        self.waits.append(wait_s)
        if len(self.waits) > 1:
            self.door.opened, self.door.state = True, self.door.state.__class__("running")


async def test_a_door_that_was_shut_meanwhile_is_waited_for_again() -> None:
    loop, door, log = asyncio.get_running_loop(), Door(), list[bool]()
    doors = ShutTwice(door)

    async def through() -> None:
        await until_open(loop, cast("Doors", doors), door, Deadline(1000.0, Clock(loop)), 7.0)
        log.append(door.open)

    work: Any = through()
    Steps(work, loop).go_on()
    async with asyncio.timeout(10):
        while not log:
            await asyncio.sleep(0)
    assert (log, doors.waits) == ([True], [7.0, 7.0])
