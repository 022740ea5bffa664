"""One timer for all waits: nobody is rung early, nobody is forgotten, and it rests when nobody waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from router.channel.messages import Cause
from router.gate.clock import TICK_S, Clock
from router.gate.connection import UpstreamFault
from router.gate.deadline import Deadline, Patience


class Timer:
    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def cancel(self) -> None:
        self.loop.timers = [timer for timer in self.loop.timers if timer[1] is not self]


class Loop:
    """Time that goes by when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Timer, Callable[[], None]]] = []
        self.woken = 0

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer(self)
        self.timers.append((self.now + seconds, timer, call))
        return timer

    def pass_(self, until: float, late: float = 0.0) -> None:
        while self.timers and (timer := min(self.timers, key=lambda one: one[0]))[0] <= until:
            self.timers.remove(timer)
            self.now = max(self.now, timer[0] + late)
            self.woken += 1
            timer[2]()
        self.now = max(self.now, until)


class Sleeper:
    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.rung: list[float] = []

    def ring(self) -> None:
        self.rung.append(self.loop.now)


def made() -> tuple[Loop, Clock]:
    loop = Loop()
    return loop, Clock(cast("Any", loop))


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(-1, 5), st.booleans()), max_size=20), st.floats(0, 0.4))
def test_each_is_rung_once_never_early_and_at_most_a_tick_late(
    sleepers: list[tuple[float, float, bool]], late: float
) -> None:
    loop, clock = made()
    waiting: list[tuple[Sleeper, float, bool]] = []
    for pause, patience, leaves in sleepers:
        loop.pass_(loop.now + pause, late)
        sleeper, due = Sleeper(loop), loop.now + patience
        tick = clock.add(sleeper, due)
        if leaves:
            clock.remove(sleeper, tick)
            clock.remove(sleeper, tick)
        waiting.append((sleeper, due, leaves))
        begun = loop.now
        assert not sleeper.rung or sleeper.rung[0] >= begun
    loop.pass_(loop.now + 20, late)
    for sleeper, due, leaves in waiting:
        assert len(sleeper.rung) == (not leaves)
        for rung in sleeper.rung:
            assert rung > due - 1e-6
    assert not loop.timers


def test_the_loop_is_not_woken_for_those_who_leave_in_time() -> None:
    """Exchange after exchange, each over long before its time is: one look at the clock in all that time."""
    loop, clock = made()
    for _ in range(100):
        tick = clock.add(sleeper := Sleeper(loop), loop.now + 30)
        loop.pass_(loop.now + 0.2)
        clock.remove(sleeper, tick)
    assert loop.woken == 0
    early = Sleeper(loop)
    clock.add(early, loop.now + 1)  # who must be rung before all others is
    loop.pass_(loop.now + 1.1)
    assert len(early.rung) == 1
    loop.pass_(loop.now + 100)
    assert not loop.timers


def test_who_waits_is_rung_within_two_ticks() -> None:
    loop, clock = made()
    sleeper = Sleeper(loop)
    clock.add(sleeper, loop.now + 1)
    loop.pass_(loop.now + 10)
    assert 1001 < sleeper.rung[0] <= 1001 + 2 * TICK_S


def test_a_patience_is_moved_and_closed() -> None:
    loop, clock = made()
    lost: list[UpstreamFault] = []
    patience = Patience(Deadline(10, clock), lost.append)
    patience.begin(1, Cause.FIRST_TOKEN_TIMEOUT)
    loop.pass_(1000.9)
    patience.begin(2, Cause.BETWEEN_TOKENS_TIMEOUT)  # put off
    loop.pass_(1002.8)
    assert not lost
    loop.pass_(1003.1)
    assert [fault.cause for fault in lost] == [Cause.BETWEEN_TOKENS_TIMEOUT]
    patience.begin(100, Cause.FIRST_TOKEN_TIMEOUT)
    patience.begin(50, Cause.FIRST_TOKEN_TIMEOUT)
    loop.pass_(1011)
    assert lost[1].cause is Cause.TOTAL_TIMEOUT
    patience.begin(1, Cause.FIRST_TOKEN_TIMEOUT)
    patience.close()
    patience.ring()
    loop.pass_(1100)
    assert len(lost) == 2
    assert not loop.timers


def test_a_wait_begins_again_as_often_as_something_is_heard_until_the_deadline() -> None:
    loop, clock = made()
    lost: list[UpstreamFault] = []
    patience = Patience(Deadline(10, clock), lost.append)
    patience.begin(2, Cause.BETWEEN_TOKENS_TIMEOUT)
    for at in (1001.5, 1003, 1004.5):
        loop.pass_(at)
        patience.again()
    loop.pass_(1006.4)
    assert not lost
    loop.pass_(1006.7)
    assert [fault.cause for fault in lost] == [Cause.BETWEEN_TOKENS_TIMEOUT]
    patience.begin(2, Cause.BETWEEN_TOKENS_TIMEOUT)
    for at in (1007.5, 1009, 1009.9):
        loop.pass_(at)
        patience.again()
    loop.pass_(1010.2)
    assert lost[1].cause is Cause.TOTAL_TIMEOUT
    patience.close()
    patience.ring()
    loop.pass_(1100)
    assert len(lost) == 2
    assert not loop.timers


def test_a_wait_that_is_held_goes_on_with_what_was_left() -> None:
    loop, clock = made()
    lost: list[UpstreamFault] = []
    patience = Patience(Deadline(30, clock), lost.append)
    patience.go_on()  # nothing was held
    patience.begin(2, Cause.FIRST_TOKEN_TIMEOUT)
    loop.pass_(1001.5)
    patience.hold()
    loop.pass_(1010)
    patience.hold()
    assert not lost
    patience.go_on()
    patience.go_on()
    loop.pass_(1010.4)
    assert not lost
    loop.pass_(1010.7)
    assert [fault.cause for fault in lost] == [Cause.FIRST_TOKEN_TIMEOUT]
    patience.begin(2, Cause.FIRST_TOKEN_TIMEOUT)
    patience.hold()
    loop.pass_(1031)
    assert lost[1].cause is Cause.TOTAL_TIMEOUT
