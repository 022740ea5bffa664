"""A narrowing takes away: whatever a narrowed policy allows, the whole one allows too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Endpoint, Reach, RequestFacts, decide_exchange
from policies.narrowing import Narrowing, NotNarrower, Unfit, asked_narrowing, narrow
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
