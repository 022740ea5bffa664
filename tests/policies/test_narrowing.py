"""A narrowing takes away: whatever a narrowed policy allows, the whole one allows too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Endpoint, Reach, RequestFacts, decide_exchange
from policies.narrowing import Narrowing, narrow
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
