"""The gate's doors: who waits, who enters, and what the supervisor hears of it."""

from __future__ import annotations

import asyncio
import itertools

import msgspec
import pytest

from router.channel.messages import Cause
from router.channel.programs import Demand, Demands, Programs, ProgramState
from router.gate.connection import UpstreamFault
from router.gate.doors import Door, Doors


class Supervisor:
    """Keeps what it was told last, and tells phases."""

    def __init__(self) -> None:
        self.heard = Demands(0, {})
        self.doors = Doors(self._hear)
        self.doors.settle({"a": "gpu0", "b": "gpu0", "c": ""})
        self._numbers = itertools.count(1)

    def _hear(self, text: str) -> None:
        self.heard = msgspec.json.decode(text, type=Demands)

    def tell(self, **phases: str) -> dict[str, ProgramState]:
        states = {name: ProgramState(phase, "why") for name, phase in phases.items()}
        return self.doors.heard(msgspec.json.encode(Programs(next(self._numbers), states)).decode())

    def door(self, name: str) -> Door:
        door = self.doors.get(name)
        assert door is not None
        return door

    def demand(self, name: str) -> Demand:
        self.doors.tell()
        return self.heard.programs[name]


@pytest.fixture
async def supervisor() -> Supervisor:
    return Supervisor()


async def test_it_opens_when_the_program_runs_and_was_found_ready(supervisor: Supervisor) -> None:
    door = supervisor.door("a")
    entering = asyncio.create_task(supervisor.doors.enter(door, 5.0))
    await asyncio.sleep(0)
    assert supervisor.demand("a").waiting == 1
    supervisor.doors.found_ready("a")  # not ours to believe before it runs
    assert not door.open
    assert set(supervisor.tell(a="running")) == {"a"}
    assert supervisor.tell(a="running") == {}
    assert not entering.done()
    supervisor.doors.found_ready("a")
    await asyncio.wait_for(entering, 5)
    with supervisor.doors.inside(door):
        assert supervisor.demand("a") == Demand(0, 0.0, 1, ready=True)
        supervisor.tell(a="draining")
        demand = supervisor.demand("a")
        assert (demand.under_way, demand.ready, supervisor.heard.number) == (1, False, 3)
    assert supervisor.demand("a").under_way == 0
    await asyncio.sleep(0.1)  # what was to be told soon is
    supervisor.tell(a="running")
    assert not door.open  # another process: it must be found ready first


async def test_who_cannot_wait_is_told_so_and_counts_as_waiting_for_a_while(supervisor: Supervisor) -> None:
    with pytest.raises(UpstreamFault) as raised:
        await supervisor.doors.enter(supervisor.door("c"), 0.0)
    assert raised.value.cause is Cause.COLD
    assert supervisor.demand("c").waiting == 1
    with pytest.raises(UpstreamFault):
        await supervisor.doors.enter(supervisor.door("a"), 0.01)
    assert supervisor.demand("a").waiting == 0


async def test_a_failure_sends_everybody_on(supervisor: Supervisor) -> None:
    entering = asyncio.create_task(supervisor.doors.enter(supervisor.door("a"), 600.0))
    await asyncio.sleep(0)
    supervisor.tell(a="failed")
    with pytest.raises(UpstreamFault, match="its program failed: why"):
        await asyncio.wait_for(entering, 10)  # at once, and not when its patience is over
    with pytest.raises(UpstreamFault, match="its program failed: why"):
        await supervisor.doors.enter(supervisor.door("a"), 5.0)
    assert supervisor.demand("a").waiting == 1  # so that it is tried again


async def test_a_poke_does_not_take_the_card_from_another(supervisor: Supervisor) -> None:
    supervisor.tell(b="running")
    supervisor.doors.found_ready("b")
    supervisor.doors.poke("a")
    assert supervisor.demand("a").waiting == 0
    supervisor.tell(b="stopped")
    supervisor.doors.poke("a")
    assert supervisor.demand("a").waiting == 1
    supervisor.doors.poke("c")
    assert supervisor.demand("c").waiting == 1


async def test_nobody_waits_for_an_open_door(supervisor: Supervisor) -> None:
    supervisor.tell(c="running")
    supervisor.doors.found_ready("c")
    supervisor.doors.poke("c")
    assert supervisor.demand("c").waiting == 0


async def test_many_requests_are_told_of_at_once(supervisor: Supervisor) -> None:
    told: list[str] = []
    doors = Doors(told.append)
    doors.settle({"a": ""})
    door = doors.get("a")
    assert door is not None
    for _ in range(50):
        with doors.inside(door):
            pass
    assert told == []
    async with asyncio.timeout(10):
        while not told:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert len(told) == 1


async def test_one_that_is_no_longer_listed_has_no_door_and_still_tells(supervisor: Supervisor) -> None:
    door = supervisor.door("a")
    with supervisor.doors.inside(door):
        supervisor.doors.settle({"b": "gpu0"})
        assert supervisor.doors.get("a") is None
        assert supervisor.demand("a").under_way == 1
    assert supervisor.doors.get("nobody") is None
    assert supervisor.doors.states()["a"].phase == "stopped"


async def test_without_programs_nothing_is_told() -> None:
    told: list[str] = []
    doors = Doors(told.append)
    doors.tell()
    assert told == []
