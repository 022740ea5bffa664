"""The order of attempts, from policy and states alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Decision, Policy, Reach, Reason, TierRule, UpstreamRule
from router.balance import Balance, Moment, balance_of, ordered
from router.channel.states import State, UpstreamLoad, UpstreamState
from router.tiers import NO_BALANCE, Attempt, Load, Planner

UPSTREAMS = {"a": Reach.NETWORK, "b": Reach.NETWORK, "space": Reach.RENTED, "own": Reach.PROCESS}
POLICY = Policy(
    digest="d",
    upstreams={name: UpstreamRule(name, reach) for name, reach in UPSTREAMS.items()},
    tiers={"gpu": TierRule("gpu", ("a", "b")), "rent": TierRule("rent", ("space",)), "own": TierRule("own", ("own",))},
    models={},
    default_model="m",
    callers={},
)


def plan(decision: Decision, load: Load, balances: Mapping[str, Balance] | None = None) -> list[Attempt]:
    return list(Planner(POLICY, balances or {}).plan("m", decision, load, lambda: b""))


def order(ceiling: Reach, turn: int = 0, **states: State) -> str:
    decision = Decision(allowed=True, reason=Reason.ALLOWED, ceiling=ceiling, tiers=("gpu", "rent", "own"))
    known = {name: UpstreamState(name, state) for name, state in states.items()}
    planner, load = Planner(POLICY, {}), Load(known)
    for _ in range(turn - 1):
        list(planner.plan("m", decision, load, lambda: b""))
    return " ".join(attempt.upstream for attempt in planner.plan("m", decision, load, lambda: b""))


READY, COLD, WARMING, FAILING = State.READY, State.COLD, State.WARMING, State.FAILING


@pytest.mark.parametrize(
    ("expected", "ceiling", "turn", "states"),
    [
        ("a b space own", Reach.RENTED, 2, {}),
        ("b a space own", Reach.RENTED, 1, {}),
        ("a b own", Reach.NETWORK, 2, {}),  # nothing crosses the ceiling
        ("own", Reach.PROCESS, 1, {}),
        ("b a space own", Reach.RENTED, 1, {"a": FAILING, "b": READY}),
        ("b a space own", Reach.RENTED, 1, {"a": WARMING, "b": COLD}),
        ("space own a b", Reach.RENTED, 2, {"a": FAILING, "b": FAILING}),  # a tier that fails stands behind
        ("a b space own", Reach.RENTED, 2, {"own": READY}),  # one that sleeps keeps its place: it must be woken
    ],
)
def test_order(expected: str, ceiling: Reach, turn: int, states: dict[str, State]) -> None:
    assert order(ceiling, turn, **states) == expected


def test_a_cold_upstream_is_waited_for_only_when_nothing_is_ready() -> None:
    decision = Decision(allowed=True, reason=Reason.ALLOWED, ceiling=Reach.RENTED, tiers=("gpu", "own"))
    ready = {"own": UpstreamState("own", State.READY)}
    assert {attempt.wait for attempt in plan(decision, Load())} == {True}
    assert {attempt.wait for attempt in plan(decision, Load(ready))} == {False}


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
    balances = {"gpu": balance_of("least_busy", ("a", "b"), {})}
    load = Load(known, own={"a": 3, "b": 1})
    assert " ".join(attempt.upstream for attempt in plan(decision, load, balances)) == expected


def test_one_that_said_when_to_come_back_is_left_alone_until_then() -> None:
    decision = Decision(allowed=True, reason=Reason.ALLOWED, ceiling=Reach.NETWORK, tiers=("gpu",))
    loads = {"a": UpstreamLoad("a", rest_until=100.0)}
    known = {name: UpstreamState(name, READY) for name in ("a", "b")}
    planner = Planner(POLICY, {})  # which remembers how they stood
    first = [next(planner.plan("m", decision, Load(known, loads, now=now), lambda: b"")).upstream for now in (98.0, 99.0, 101.0, 102.0)]  # fmt: skip  # noqa: E501
    assert first == ["b", "b", "b", "a"]


# --- what is remembered changes nothing ---

NAMES = ("a", "b", "c", "d")
MANY = Policy(
    digest="d",
    upstreams={name: UpstreamRule(name, Reach.NETWORK if name < "d" else Reach.RENTED) for name in NAMES},
    tiers={"one": TierRule("one", ("a", "b", "d")), "two": TierRule("two", ("c", "b", "a"))},
    models={},
    default_model="m",
    callers={},
)
RANKS = {READY: 0, COLD: 1, WARMING: 2, FAILING: 3}
loads = st.builds(UpstreamLoad, st.just(""), st.integers(0, 9), st.sampled_from([0.0, 10.0, 90.0]),
                  st.sampled_from([0.0, 0.5]), st.sampled_from([0.0, 5.0, 15.0]), st.booleans())  # fmt: skip
tables = st.tuples(
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(State).map(lambda state: UpstreamState("", state))),
    st.dictionaries(st.sampled_from(NAMES), loads),
)


def by_the_book(ceiling: Reach, load: Load, balances: Mapping[str, Balance], turns: dict[str, int], key: bytes) -> list[Attempt]:  # fmt: skip  # noqa: E501
    """The plan worked out from the beginning, in the words of the rules."""

    def rank(name: str) -> int:
        return RANKS[load.states[name].state] if name in load.states else RANKS[COLD]

    def reluctant(name: str) -> bool:
        return name in load.loads and (load.loads[name].full or load.loads[name].rest_until > load.now)

    def in_tier(tier: str) -> list[str]:
        balance = balances.get(tier, NO_BALANCE)
        turns[tier] += 1
        moment = Moment(load.loads, load.own, turns[tier], key if balance.way == "affinity" else b"")
        return sorted(ordered(within[tier], balance, moment), key=lambda name: (rank(name), reluctant(name)))

    within = {
        tier: [name for name in rule.upstreams if MANY.upstreams[name].reach <= ceiling]
        for tier, rule in MANY.tiers.items()
    }
    tiers = sorted(within, key=lambda tier: all(rank(name) == RANKS[FAILING] for name in within[tier]))
    wait = all(rank(name) for names in within.values() for name in names)
    names = [(tier, name) for tier in tiers for name in in_tier(tier)]
    return [Attempt(number, tier, name, wait) for number, (tier, name) in enumerate(names, start=1)]


@given(
    way=st.sampled_from(["round_robin", "least_busy", "affinity", ""]),
    weights=st.dictionaries(st.sampled_from(NAMES), st.integers(1, 3)),
    told=st.lists(tables, min_size=1, max_size=3),
    asked=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20), st.sampled_from([Reach.NETWORK, Reach.RENTED]),
                             st.sampled_from([b"", b"k"])), min_size=1, max_size=12),
)  # fmt: skip
def test_what_is_remembered_changes_no_plan(
    way: str,
    weights: dict[str, int],
    told: list[tuple[dict[str, UpstreamState], dict[str, UpstreamLoad]]],
    asked: list[tuple[int, int, Reach, bytes]],
) -> None:
    balances = {tier: balance_of(way, rule.upstreams, weights) for tier, rule in MANY.tiers.items() if way}
    planner, turns = Planner(MANY, balances), dict.fromkeys(MANY.tiers, 0)
    for number, now, ceiling, key in sorted(asked, key=lambda one: one[1]):  # time goes on
        states, known = told[number % len(told)]
        load = Load(states, known, {"a": number}, float(now))
        decision = Decision(allowed=True, reason=Reason.ALLOWED, ceiling=ceiling, tiers=("one", "two"))
        expected = by_the_book(ceiling, load, balances, turns, key)
        assert list(planner.plan("m", decision, load, lambda: key)) == expected  # noqa: B023 - asked at once
