"""The queue of a tier: places are never lost or doubled, callers take turns, nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.channel.messages import Cause
from router.gate.admission import AT_ONCE, Admission, Admitted
from router.gate.connection import UpstreamFault


async def queued(admission: Admission, *callers: str) -> list[asyncio.Task[Admitted]]:
    """Tasks that wait, in this order."""
    tasks = []
    for caller in callers:
        tasks.append(asyncio.create_task(admission.enter(caller, 30)))
        await asyncio.sleep(0)
    return tasks


async def test_callers_take_turns_and_are_told_their_position() -> None:
    admission = Admission(1, 10)
    assert await admission.enter("a", 1) is AT_ONCE
    order: list[str] = []
    tasks = await queued(admission, "a", "a", "a", "b", "c", "b")
    for name, task in zip("aaabcb", tasks, strict=True):
        task.add_done_callback(partial(lambda who, _: order.append(who), name))
    for _ in tasks:
        admission.leave()
        await asyncio.sleep(0.001)
    assert "".join(order) == "abcaba"
    assert [task.result().position for task in tasks] == [1, 2, 3, 2, 3, 5]
    assert all(task.result().waited_s > 0 for task in tasks)


async def test_a_full_queue_refuses_and_a_flood_makes_room_for_others() -> None:
    admission = Admission(1, 3)
    await admission.enter("flood", 1)
    flood = await queued(admission, "flood", "flood", "flood")
    with pytest.raises(UpstreamFault, match="queue is full"):
        await admission.enter("flood", 1)
    [other] = await queued(admission, "b")
    await asyncio.sleep(0)
    assert [task.done() for task in flood] == [False, False, True]
    error = flood[2].exception()
    assert isinstance(error, UpstreamFault)
    assert error.cause is Cause.BUSY
    assert admission.waiting == 3
    with pytest.raises(UpstreamFault, match="queue is full"):
        await admission.enter("b", 1)  # it has one, the flood two: that is fair
    admission.leave()
    admission.leave()
    await asyncio.wait_for(other, 1)
    for task in flood[:2]:
        task.cancel()


async def test_no_queue_at_all() -> None:
    admission = Admission(1, 0)
    await admission.enter("a", 1)
    with pytest.raises(UpstreamFault, match="queue is full"):
        await admission.enter("b", 1)


async def test_a_wait_has_an_end() -> None:
    admission = Admission(1, 3)
    await admission.enter("a", 1)
    with pytest.raises(UpstreamFault, match="no place"):
        await admission.enter("b", 0.01)
    assert admission.waiting == 0


class QueueMachine(RuleBasedStateMachine):
    """Requests come, are done, and give up, in any order; a list of tasks is the model."""

    PLACES, QUEUE = 2, 4

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.admission = Admission(self.PLACES, self.QUEUE)
        self.tasks: list[tuple[str, asyncio.Task[Admitted]]] = []
        self.holding = 0

    def turn(self) -> None:
        for _ in range(4):
            self.loop.run_until_complete(asyncio.sleep(0))
        for pair in tuple(self.tasks):
            if pair[1].done():
                self.tasks.remove(pair)
                self.holding += not pair[1].cancelled() and pair[1].exception() is None

    @rule(caller=st.sampled_from("abc"))
    def comes(self, caller: str) -> None:
        self.tasks.append((caller, self.loop.create_task(self.admission.enter(caller, 1000))))
        self.turn()

    @rule()
    def is_done(self) -> None:
        if self.holding:
            self.holding -= 1
            self.admission.leave()
        self.turn()

    @rule(which=st.integers(0, 10), moment=st.booleans())
    def gives_up(self, which: int, moment: bool) -> None:
        """`moment`: in the very moment in which a place is granted."""
        if not self.tasks:
            return
        if moment and self.holding:
            self.holding -= 1
            self.admission.leave()
        self.tasks[which % len(self.tasks)][1].cancel()
        self.turn()

    @invariant()
    def places_are_kept(self) -> None:
        assert 0 <= self.holding <= self.PLACES
        assert len(self.tasks) == self.admission.waiting <= self.QUEUE
        assert self.holding == self.PLACES or not self.tasks, "somebody waits beside a free place"

    @invariant()
    def the_queues_are_the_callers(self) -> None:
        waiting = {caller: len(queue) for caller, queue in self.admission._waiting.items()}
        assert waiting == Counter(caller for caller, _ in self.tasks)

    def teardown(self) -> None:
        for _, task in self.tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
