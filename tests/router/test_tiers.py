"""The order of attempts, from policy and states alone."""

from __future__ import annotations

import pytest

from policies import Decision, Policy, Reach, Reason, TierRule, UpstreamRule
from router.balance import Moment, balance_of
from router.channel.states import State, UpstreamLoad, UpstreamState
from router.tiers import Load, plan

UPSTREAMS = {"a": Reach.NETWORK, "b": Reach.NETWORK, "space": Reach.RENTED, "own": Reach.PROCESS}
POLICY = Policy(
    digest="d",
    upstreams={name: UpstreamRule(name, reach) for name, reach in UPSTREAMS.items()},
    tiers={"gpu": TierRule("gpu", ("a", "b")), "rent": TierRule("rent", ("space",)), "own": TierRule("own", ("own",))},
    models={},
    default_model="m",
    callers={},
)


def order(ceiling: Reach, turn: int = 0, **states: State) -> str:
    decision = Decision(allowed=True, reason=Reason.ALLOWED, ceiling=ceiling, tiers=("gpu", "rent", "own"))
    known = {name: UpstreamState(name, state) for name, state in states.items()}
    moments = {tier: Moment(turn=turn) for tier in POLICY.tiers}
    return " ".join(attempt.upstream for attempt in plan(decision, POLICY, Load(known, moments)))


READY, COLD, WARMING, FAILING = State.READY, State.COLD, State.WARMING, State.FAILING


@pytest.mark.parametrize(
    ("expected", "ceiling", "turn", "states"),
    [
        ("a b space own", Reach.RENTED, 0, {}),
        ("b a space own", Reach.RENTED, 1, {}),
        ("a b own", Reach.NETWORK, 0, {}),  # nothing crosses the ceiling
        ("own", Reach.PROCESS, 0, {}),
        ("b a space own", Reach.RENTED, 0, {"a": FAILING, "b": READY}),
        ("b a space own", Reach.RENTED, 0, {"a": WARMING, "b": COLD}),
        ("space own a b", Reach.RENTED, 0, {"a": FAILING, "b": FAILING}),  # a tier that fails stands behind
        ("a b space own", Reach.RENTED, 0, {"own": READY}),  # one that sleeps keeps its place: it must be woken
    ],
)
def test_order(expected: str, ceiling: Reach, turn: int, states: dict[str, State]) -> None:
    assert order(ceiling, turn, **states) == expected


def test_a_cold_upstream_is_waited_for_only_when_nothing_is_ready() -> None:
    decision = Decision(allowed=True, reason=Reason.ALLOWED, ceiling=Reach.RENTED, tiers=("gpu", "own"))
    ready = {"own": UpstreamState("own", State.READY)}
    assert {attempt.wait for attempt in plan(decision, POLICY, Load())} == {True}
    assert {attempt.wait for attempt in plan(decision, POLICY, Load(ready))} == {False}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"a": READY, "b": READY}, "b a"),
        ({"a": READY, "b": FAILING}, "a b"),  # never busy because it fails at once
    ],
)
def test_least_busy_goes_by_requests_under_way_but_by_state_first(states: dict[str, State], expected: str) -> None:
    decision = Decision(allowed=True, reason=Reason.ALLOWED, ceiling=Reach.NETWORK, tiers=("gpu",))
    known = {name: UpstreamState(name, state) for name, state in states.items()}
    moments = {"gpu": Moment(own={"a": 3, "b": 1})}
    load = Load(known, moments, {"gpu": balance_of("least_busy", ("a", "b"), {})})
    assert " ".join(attempt.upstream for attempt in plan(decision, POLICY, load)) == expected


def test_one_that_said_when_to_come_back_is_left_alone_until_then() -> None:
    decision = Decision(allowed=True, reason=Reason.ALLOWED, ceiling=Reach.NETWORK, tiers=("gpu",))
    moments = {"gpu": Moment({"a": UpstreamLoad("a", rest_until=100.0)})}
    known = {name: UpstreamState(name, READY) for name in ("a", "b")}
    first = [plan(decision, POLICY, Load(known, moments, now=now))[0].upstream for now in (99.0, 101.0)]
    assert first == ["b", "a"]
