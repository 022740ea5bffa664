"""Which upstream first: shares, load and affinity as figures, from the pure functions."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.affinity import conversation
from router.balance import BOUND, Moment, balance_of, ordered
from router.channel.states import UpstreamLoad

ABC = ("a", "b", "c")


def firsts(way: str, weights: dict[str, int], moments: list[Moment]) -> Counter[str]:
    balance = balance_of(way, ABC, weights)
    return Counter(ordered(ABC, balance, moment)[0] for moment in moments)


def keys(count: int) -> list[bytes]:
    return [conversation("alice", f"session {number}", {}) for number in range(count)]


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ({}, {"a": 30, "b": 30, "c": 30}),
        ({"a": 3, "b": 2}, {"a": 45, "b": 30, "c": 15}),
        ({"a": 100, "b": 100, "c": 100}, {"a": 30, "b": 30, "c": 30}),
    ],
)
def test_turns_are_taken_by_weight(weights: dict[str, int], shares: dict[str, int]) -> None:
    assert firsts("round_robin", weights, [Moment(turn=turn) for turn in range(90)]) == shares


def test_turns_are_spread() -> None:
    assert balance_of("round_robin", ("a", "b"), {"a": 3}).rotation == ("a", "a", "b", "a")


@given(st.sets(st.sampled_from(ABC)), st.integers(0, 50), st.sampled_from(["round_robin", "least_busy", "affinity"]))
def test_every_upstream_is_there_once_whatever_the_way(some: set[str], turn: int, way: str) -> None:
    balance = balance_of(way, ABC, {"a": 2})
    assert sorted(ordered(sorted(some), balance, Moment(turn=turn, key=b"k"))) == sorted(some)


@pytest.mark.parametrize(
    ("a", "b", "c", "best"),
    [
        (UpstreamLoad("a", 2), UpstreamLoad("b", 1), UpstreamLoad("c", 3), "b"),
        (UpstreamLoad("a", 1, 300.0), UpstreamLoad("b", 1, 100.0), UpstreamLoad("c", 1, 200.0), "b"),
        (UpstreamLoad("a", 0, 5.0, 1.0), UpstreamLoad("b", 2, 100.0), UpstreamLoad("c", 3, 100.0), "b"),  # fast to fail
        (UpstreamLoad("a", 4, 0.0), UpstreamLoad("b", 9, 1.0), UpstreamLoad("c", 9, 1000.0), "b"),  # bounded
    ],
)  # fmt: skip
def test_the_least_busy(a: UpstreamLoad, b: UpstreamLoad, c: UpstreamLoad, best: str) -> None:
    moment = Moment({"a": a, "b": b, "c": c})
    assert ordered(ABC, balance_of("least_busy", ABC, {}), moment)[0] == best


def test_what_this_worker_has_begun_counts_before_the_gate_tells_it() -> None:
    moment = Moment({"a": UpstreamLoad("a", 0)}, {"a": 5})
    assert ordered(ABC, balance_of("least_busy", ABC, {}), moment)[0] == "b"


def test_a_weight_makes_busy_bearable() -> None:
    moment = Moment({"a": UpstreamLoad("a", 2), "b": UpstreamLoad("b", 1)})
    assert ordered(("a", "b"), balance_of("least_busy", ("a", "b"), {"a": 4}), moment)[0] == "a"


# --- affinity ---


def test_a_conversation_stays_where_it_is_and_conversations_are_spread_by_weight() -> None:
    moments = [Moment(turn=turn, key=key) for turn, key in enumerate(keys(2000))]
    shares = firsts("affinity", {"a": 2}, moments)
    assert shares == firsts("affinity", {"a": 2}, [Moment(turn=7, key=moment.key) for moment in moments])
    assert 850 < shares["a"] < 1150
    assert 400 < shares["b"] < 600


def test_only_the_conversations_of_a_lost_upstream_move() -> None:
    balance = balance_of("affinity", ABC, {})
    for key in keys(200):
        before = ordered(ABC, balance, Moment(key=key))
        after = ordered(("a", "b"), balance, Moment(key=key))
        assert after == [name for name in before if name != "c"]


def test_one_with_clearly_more_than_its_share_is_spared() -> None:
    balance = balance_of("affinity", ABC, {})
    key = keys(1)[0]
    home = ordered(ABC, balance, Moment(key=key))[0]
    fair = Moment({name: UpstreamLoad(name, 4) for name in ABC}, key=key)
    assert ordered(ABC, balance, fair)[0] == home
    crowded = Moment({name: UpstreamLoad(name, 12 if name == home else 4) for name in ABC}, key=key)
    assert ordered(ABC, balance, crowded)[-1] == home
    assert BOUND > 1


def test_without_a_key_turns_are_taken() -> None:
    assert firsts("affinity", {}, [Moment(turn=turn) for turn in range(9)]) == {"a": 3, "b": 3, "c": 3}


CHAT = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("a", "s", {"messages": CHAT}), ("a", "s", {"messages": []}), True),  # the session decides
        (("a", "s", {}), ("b", "s", {}), False),  # never of two callers
        (("a", "", {"user": "u", "prompt": "x"}), ("a", "", {"user": "u", "prompt": "y"}), True),
        (("a", "u", {}), ("a", "", {"user": "u"}), False),
        (("a", "", {"messages": CHAT}), ("a", "", {"messages": [*CHAT, {"role": "user", "content": "more"}]}), True),
        (("a", "", {"messages": CHAT}), ("a", "", {"messages": CHAT[1:]}), False),
        (("a", "", {"messages": CHAT[:1]}), ("a", "", {"messages": CHAT[:1]}), True),
        (("a", "", {"prompt": "x" * 5000}), ("a", "", {"prompt": "x" * 4096}), True),
        (("a", "", {"input": ["x"]}), ("a", "", {"input": ["y"]}), False),
    ],
)
def test_what_makes_a_conversation(one: tuple[str, str, dict[str, object]], other: tuple[str, str, dict[str, object]], *, same: bool) -> None:  # fmt: skip  # noqa: E501
    assert (conversation(*one) == conversation(*other)) == same
    assert len(conversation(*one)) == 32
