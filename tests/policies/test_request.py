"""May a request be served, and how far: the ceiling is the narrowest of three, and only tiers within it count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from policies import ANONYMOUS, Caller, Decision, Endpoint, Reach, Reason, RequestFacts, decide_exchange, decide_request
from tests.policies.tables import CALLERS, MODELS, POLICY, TIERS, UPSTREAMS


def ask(model: str = "coder", caller: str = "alice", reach: Reach | None = None) -> Decision:
    return decide_request(RequestFacts(Endpoint.CHAT, model, reach=reach), CALLERS[caller], POLICY)


@pytest.mark.parametrize(
    ("model", "caller", "reach", "ceiling", "tiers"),
    [
        ("coder", "alice", None, Reach.RENTED, ("gpu", "mixed", "space", "last")),
        ("", "alice", None, Reach.RENTED, ("gpu", "mixed", "space", "last")),
        ("coder", "alice", Reach.NETWORK, Reach.NETWORK, ("gpu", "mixed", "last")),
        ("coder", "alice", Reach.HOST, Reach.HOST, ("mixed", "last")),
        ("coder", "alice", Reach.PROCESS, Reach.PROCESS, ("last",)),
        ("coder", "near", None, Reach.HOST, ("mixed", "last")),
        ("coder", "near", Reach.RENTED, Reach.HOST, ("mixed", "last")),  # a client cannot widen
        ("house", "alice", None, Reach.NETWORK, ("gpu", "last")),
        ("house", "alice", Reach.RENTED, Reach.NETWORK, ("gpu", "last")),
        ("house", "only-house", None, Reach.NETWORK, ("gpu", "last")),
    ],
)
def test_what_is_allowed(model: str, caller: str, reach: Reach | None, ceiling: Reach, tiers: tuple[str, ...]) -> None:
    decision = ask(model, caller, reach)
    assert decision == Decision(allowed=True, reason=Reason.ALLOWED, ceiling=ceiling, tiers=tiers)


@pytest.mark.parametrize(
    ("model", "caller", "reach", "reason"),
    [
        ("gpt-4o", "alice", None, Reason.MODEL_UNKNOWN),
        ("openai/coder", "alice", None, Reason.MODEL_UNKNOWN),
        ("coder:novita", "alice", None, Reason.MODEL_UNKNOWN),
        ("CODER", "alice", None, Reason.MODEL_UNKNOWN),
        ("coder ", "alice", None, Reason.MODEL_UNKNOWN),
        ("https://evil.example/coder", "alice", None, Reason.MODEL_UNKNOWN),
        ("coder", "only-house", None, Reason.MODEL_NOT_FOR_CALLER),
        ("", "only-house", None, Reason.MODEL_NOT_FOR_CALLER),
        ("rented", "near", None, Reason.REACH_EXCEEDED),
        ("rented", "alice", Reach.NETWORK, Reason.REACH_EXCEEDED),
    ],
)
def test_what_is_refused(model: str, caller: str, reach: Reach | None, reason: Reason) -> None:
    decision = ask(model, caller, reach)
    assert not decision.allowed
    assert decision.reason is reason
    assert decision.tiers == ()


def test_an_unknown_model_leaves_no_word_of_the_client() -> None:
    assert ask("a secret in the model's name").detail == ""


def test_a_decision_is_not_a_bool() -> None:
    with pytest.raises(TypeError):
        bool(ask())


FACTS = RequestFacts(Endpoint.CHAT, "coder")


@pytest.mark.parametrize(
    ("facts", "caller", "tier", "upstream", "reason"),
    [
        (FACTS, "alice", "gpu", "gpu-2", Reason.ALLOWED),
        (replace(FACTS, model=""), "alice", "gpu", "gpu-2", Reason.ALLOWED),
        (FACTS, "near", "mixed", "local", Reason.ALLOWED),
        (FACTS, "near", "mixed", "space", Reason.REACH_EXCEEDED),
        (FACTS, "near", "gpu", "gpu-1", Reason.REACH_EXCEEDED),
        (replace(FACTS, model="house"), "alice", "space", "space", Reason.REACH_EXCEEDED),
        (replace(FACTS, model="rented"), "near", "space", "space", Reason.REACH_EXCEEDED),
        (FACTS, "mallory", "gpu", "gpu-1", Reason.CALLER_UNKNOWN),
        (FACTS, "anonymous", "gpu", "gpu-1", Reason.CALLER_UNKNOWN),
        (FACTS, "only-house", "gpu", "gpu-1", Reason.MODEL_NOT_FOR_CALLER),
        (replace(FACTS, model="no"), "alice", "gpu", "gpu-1", Reason.MODEL_UNKNOWN),
        (FACTS, "alice", "gpu", "no", Reason.UPSTREAM_UNKNOWN),
        (FACTS, "alice", "no", "gpu-1", Reason.TIER_NOT_FOR_MODEL),
        (replace(FACTS, model="house"), "alice", "mixed", "local", Reason.TIER_NOT_FOR_MODEL),
        (FACTS, "alice", "gpu", "space", Reason.UPSTREAM_NOT_IN_TIER),
    ],
)
def test_what_the_gate_decides_from_names(
    facts: RequestFacts, caller: str, tier: str, upstream: str, reason: Reason
) -> None:
    decision = decide_exchange(facts, caller, tier, upstream, POLICY)
    assert decision.reason is reason
    assert decision.allowed == (reason is Reason.ALLOWED)
    assert decision.tiers == ((tier,) if decision.allowed else ())


def test_anonymous_is_known_only_where_callers_need_no_key() -> None:
    open_policy = replace(POLICY, any_caller=True)
    assert decide_exchange(FACTS, ANONYMOUS.name, "gpu", "gpu-1", open_policy).allowed
    assert not decide_exchange(FACTS, "someone", "gpu", "gpu-1", open_policy).allowed


@given(
    st.sampled_from(["", *MODELS, "no"]),
    st.builds(Caller, st.just("any"), st.sampled_from(Reach), st.none() | st.frozensets(st.sampled_from([*MODELS]))),
    st.sampled_from([*TIERS, "no"]),
    st.sampled_from([*UPSTREAMS, "no"]),
    st.none() | st.sampled_from(Reach),
)
def test_nothing_allowed_goes_beyond_any_ceiling(
    model: str, caller: Caller, tier: str, upstream: str, reach: Reach | None
) -> None:
    facts = RequestFacts(Endpoint.CHAT, model, reach=reach)
    policy = replace(POLICY, callers={"any": caller})
    decision = decide_exchange(facts, "any", tier, upstream, policy)
    if not decision.allowed:
        return
    rule = MODELS[model or "coder"]
    assert UPSTREAMS[upstream].reach <= min(caller.reach, rule.reach, Reach.RENTED if reach is None else reach)
    assert tier in rule.tiers
    assert upstream in TIERS[tier].upstreams
    assert tier in decide_request(facts, caller, policy).tiers
