"""A narrowing takes away: whatever a narrowed policy allows, the whole one allows too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from policies import Destination, Endpoint, Policy, Reach, RequestFacts, UpstreamRule, decide_exchange
from policies.narrowing import (
    Narrowing,
    NotNarrower,
    Unfit,
    asked_narrowing,
    beside,
    followed,
    located,
    narrow,
    unlisted,
)
from tests.policies.tables import CALLERS, MODELS, POLICY, TIERS, UPSTREAMS

NARROWINGS = st.builds(Narrowing, st.frozensets(st.sampled_from([*UPSTREAMS, "unknown"])), st.sampled_from(Reach))


@given(NARROWINGS, st.sampled_from([*MODELS]), st.sampled_from([*TIERS]), st.sampled_from([*UPSTREAMS]))
def test_nothing_is_allowed_that_was_not(narrowing: Narrowing, model: str, tier: str, upstream: str) -> None:
    facts = RequestFacts(Endpoint.CHAT, model)
    less = narrow(POLICY, narrowing)
    for caller in CALLERS:
        if decide_exchange(facts, caller, tier, upstream, less).allowed:
            assert decide_exchange(facts, caller, tier, upstream, POLICY).allowed
            assert upstream not in narrowing.without
            assert UPSTREAMS[upstream].reach <= narrowing.reach


def test_a_reach_takes_away_what_lies_beyond_it_and_nothing_else() -> None:
    for reach in Reach:
        kept = narrow(POLICY, Narrowing(reach=reach)).upstreams
        assert set(kept) == {name for name, rule in UPSTREAMS.items() if rule.reach <= reach}


@given(NARROWINGS, NARROWINGS)
def test_one_after_the_other_is_both(one: Narrowing, two: Narrowing) -> None:
    assert narrow(narrow(POLICY, one), two) == narrow(POLICY, one.and_also(two))


@pytest.mark.parametrize(
    ("narrowing", "words"),
    [
        (Narrowing(), ""),
        (Narrowing(frozenset({"b", "a"})), "without a, b"),
        (Narrowing(reach=Reach.HOST), "reach host"),
        (Narrowing(frozenset({"a"}), Reach.PROCESS), "without a; reach process"),
    ],
)
def test_in_words(narrowing: Narrowing, words: str) -> None:
    assert narrowing.words == words


LISTED = frozenset({"a", "b"})
WHOLE, HOST = Narrowing(), Narrowing(frozenset({"b"}), Reach.HOST)


@pytest.mark.parametrize(
    ("without", "reach", "now", "asked"),
    [
        (["a"], "", WHOLE, Narrowing(frozenset({"a"}))),
        (["a", "b"], "", WHOLE, Narrowing(LISTED)),
        (["a", "a"], "", WHOLE, Narrowing(frozenset({"a"}))),
        ([], "network", WHOLE, Narrowing(reach=Reach.NETWORK)),
        ([], "process", HOST, Narrowing(reach=Reach.PROCESS)),
        ([], "host", HOST, Narrowing(reach=Reach.HOST)),  # said again
        (["b"], "", HOST, Narrowing(frozenset({"b"}), Reach.HOST)),  # likewise
        (["a"], "rented", WHOLE, Narrowing(frozenset({"a"}))),
        ([], "", WHOLE, Unfit.EMPTY),
        ([], "rented", WHOLE, Unfit.EMPTY),
        ([], "network", HOST, Unfit.WIDER),
        ([], "rented", HOST, Unfit.WIDER),
        (["a"], "network", HOST, Unfit.WIDER),  # nothing of it is done
        (["c"], "", WHOLE, Unfit.UNLISTED),
        (["a", "c"], "host", WHOLE, Unfit.UNLISTED),
        (["A"], "", WHOLE, Unfit.UNLISTED),
        ([""], "", WHOLE, Unfit.UNLISTED),
        (["a "], "", WHOLE, Unfit.UNLISTED),
        (["*"], "", WHOLE, Unfit.UNLISTED),
        (["http://10.1.2.3:8000/v1"], "", WHOLE, Unfit.UNLISTED),
        ([], "Host", WHOLE, Unfit.NO_REACH),
        ([], "everywhere", HOST, Unfit.NO_REACH),
        ([], "3", WHOLE, Unfit.NO_REACH),
    ],
)
def test_what_counts_as_narrower(without: list[str], reach: str, now: Narrowing, asked: Narrowing | Unfit) -> None:
    found = asked_narrowing(without, reach, now, LISTED)
    assert (found.reason if isinstance(found, NotNarrower) else found) == asked


@given(
    st.lists(st.sampled_from(["a", "b", "c", ""])), st.sampled_from([*(reach.word for reach in Reach), "", "moon"]),
    st.builds(Narrowing, st.frozensets(st.sampled_from("ab")), st.sampled_from(Reach)),
)  # fmt: skip
def test_whatever_is_asked_for_what_follows_is_no_wider(without: list[str], reach: str, now: Narrowing) -> None:
    asked = asked_narrowing(without, reach, now, LISTED)
    if isinstance(asked, Narrowing):
        both = now.and_also(asked)
        assert both.without >= now.without
        assert both.reach <= now.reach
        assert both.reach == asked.reach  # who asked for a reach has it


def renamed(**names: str) -> Policy:
    """The same servers by other names; "": listed no more."""
    rules = [replace(rule, name=names.get(name, name)) for name, rule in UPSTREAMS.items()]
    return replace(POLICY, upstreams={rule.name: rule for rule in rules if rule.name})


PROGRAM = UpstreamRule("program", Reach.HOST, managed=True)


@pytest.mark.parametrize(
    ("name", "after", "away", "vain"),
    [
        ("gpu-1", POLICY, ["gpu-1"], {}),
        ("gpu-1", renamed(**{"gpu-1": "a100"}), ["a100"], {"gpu-1": ("a100",)}),
        ("gpu-1", renamed(**{"gpu-1": ""}), [], {"gpu-1": ()}),
        ("gpu-1", renamed(**{"gpu-1": "gpu-2", "gpu-2": "gpu-1"}), ["gpu-1", "gpu-2"], {}),  # which is meant?
        ("embedded", renamed(embedded="own"), ["own"], {"embedded": ("own",)}),
        ("space", renamed(space="elsewhere"), ["elsewhere"], {"space": ("elsewhere",)}),
    ],
)
def test_a_server_by_another_name_stays_away(
    name: str, after: Policy, away: list[str], vain: dict[str, tuple[str, ...]]
) -> None:
    narrowing = located(Narrowing(frozenset({name})), POLICY)
    assert sorted(after.upstreams.keys() - narrow(after, narrowing).upstreams.keys()) == away
    assert unlisted(narrowing, after) == vain


def test_places_are_kept_however_often_the_file_changes() -> None:
    first = located(Narrowing(frozenset({"gpu-1"})), POLICY)
    both = first.and_also(located(Narrowing(frozenset({"a100"})), renamed(**{"gpu-1": "a100"})))
    assert unlisted(both, renamed(**{"gpu-1": "b200"})) == {"a100": ("b200",), "gpu-1": ("b200",)}
    assert located(both, renamed(**{"gpu-1": ""})) == both


def test_a_server_that_moves_and_then_has_another_name_stays_away() -> None:
    here, there = UPSTREAMS["gpu-1"], replace(UPSTREAMS["gpu-1"], destination=Destination("http", "10.9.9.9", 9, "/v1"))
    moved = replace(POLICY, upstreams={"gpu-1": there, "new": replace(here, name="new")})
    after = replace(POLICY, upstreams={"a100": replace(there, name="a100")})
    narrowing = located(Narrowing(frozenset({"gpu-1"})), POLICY)
    assert followed(narrowing, POLICY, moved) == narrowing  # by its name it is away wherever it is
    last = followed(narrowing, moved, after)
    assert not narrow(after, last).upstreams
    assert unlisted(last, after) == {"gpu-1": ("a100",)}
    assert followed(Narrowing(), moved, after) == Narrowing()


def test_who_is_at_the_same_address_is_told() -> None:
    one = UPSTREAMS["gpu-1"]
    policy = replace(POLICY, upstreams={**UPSTREAMS, "twin": replace(one, name="twin")})
    narrowing = located(Narrowing(frozenset({"gpu-1"})), policy)
    assert beside(narrowing, policy) == ("twin",)
    assert beside(replace(narrowing, reach=Reach.PROCESS), policy) == ()  # it is beyond the reach anyway
    assert beside(narrowing, POLICY) == ()


def test_programs_without_an_address_are_known_by_name_alone() -> None:
    policy = replace(POLICY, upstreams={"program": PROGRAM})
    narrowing = located(Narrowing(frozenset({"program"})), policy)
    other = replace(POLICY, upstreams={"other": replace(PROGRAM, name="other")})
    assert [*narrow(other, narrowing).upstreams] == ["other"]
    assert unlisted(narrowing, other) == {"program": ()}
