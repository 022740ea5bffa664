"""The breaker as a machine: in whatever order things happen, no upstream is out for ever, or let in too early."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.gate.breaker import FEWEST_FOR_A_RATE, IN_A_ROW, LONGEST_HOLD_S, WINDOW_S, Breaker


def results(pattern: str, breaker: Breaker, now: float = 0.0) -> list[str]:
    """The reasons for each failure ("x") of the pattern; "." succeeds."""
    told = []
    for result in pattern:
        if result == ".":
            breaker.succeeded(now)
        else:
            told.append(breaker.failed(now, connecting=False))
    return told


@pytest.mark.parametrize(
    ("pattern", "last"),
    [
        ("x", ""),
        ("xx", ""),
        ("xxx", "3 failures in a row"),
        ("xx.xx", ""),
        ("x.x.x.x.x", ""),  # too few to speak of a rate
        (".x.x.x.x.x", "5 of 10 failed"),
        ("." * 10 + "x" * 2 + ".", ""),
    ],
)
def test_what_ejects(pattern: str, last: str) -> None:
    told = results(pattern, Breaker())
    assert told[-1] == last
    assert not any(told[:-1])


def test_old_failures_are_forgotten() -> None:
    breaker = Breaker()
    results(".x.x.x.x.", breaker)
    assert breaker.failed(WINDOW_S + 1, connecting=False) == ""


def test_no_connection_ejects_at_once_and_holds_nothing() -> None:
    breaker = Breaker()
    assert breaker.failed(5.0, connecting=True) == "no connection"
    assert breaker.may_return(5.0)
    breaker.returned()
    assert not breaker.on_trial


def test_a_relapse_on_trial_costs_one_failure_and_a_longer_hold() -> None:
    breaker, now, holds = Breaker(), 0.0, []
    results("xxx", breaker, now)
    for _ in range(8):
        holds.append(breaker.out_until - now)
        now = breaker.out_until
        breaker.returned()
        assert breaker.on_trial
        assert breaker.failed(now, connecting=False) == "failed on trial"
    assert holds == sorted(holds)
    assert holds[0] < 1 <= holds[-1] == LONGEST_HOLD_S
    breaker.returned()
    breaker.succeeded(now)
    assert not breaker.on_trial
    assert results("x", breaker, now) == [""]


class BreakerMachine(RuleBasedStateMachine):
    """Beside the breaker runs a list of all that happened since it was last let in."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = 0.0
        self.out_since: float | None = None
        self.row = 0

    @rule(seconds=st.integers(0, 160).map(lambda sixteenths: sixteenths / 16))  # sums of these are exact
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def succeeds(self) -> None:
        self.breaker.succeeded(self.now)
        self.row = 0
        self.out_since = None  # an answer that was under way came after all: it is well

    @rule(connecting=st.booleans())
    def fails(self, connecting: bool) -> None:
        trial = self.breaker.on_trial
        self.row += 1
        reason = self.breaker.failed(self.now, connecting=connecting)
        must = connecting or trial or self.row >= IN_A_ROW
        assert bool(reason) or not must
        assert reason == "" or must or "of" in reason
        if reason:
            self.out_since = self.now

    @rule()
    def probe_is_good(self) -> None:
        if self.out_since is None or not self.breaker.may_return(self.now):
            return
        self.breaker.returned()
        self.row = 0
        self.out_since = None

    @invariant()
    def nobody_is_out_for_longer_than_the_longest_hold(self) -> None:
        assert self.breaker.out_until - self.now <= LONGEST_HOLD_S
        assert self.breaker.may_return(self.now + LONGEST_HOLD_S)

    @invariant()
    def what_is_remembered_is_bounded(self) -> None:
        assert FEWEST_FOR_A_RATE <= self.breaker.results.maxlen == 50  # type: ignore[operator]  # it has one


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
