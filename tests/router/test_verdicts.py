"""Remembered verdicts are those that the policy gives."""

from __future__ import annotations

import pytest

from policies import (
    ANONYMOUS,
    Caller,
    Endpoint,
    ModelRule,
    Policy,
    Reach,
    RequestFacts,
    decide_exchange,
    decide_request,
    tiers_within,
)
from router import verdicts as module
from router.verdicts import Verdicts
from tests.router.house import snapshot_for


@pytest.fixture
def policy() -> Policy:
    return snapshot_for(1).policy


@pytest.mark.parametrize("model", ["m", "", "unknown"])
@pytest.mark.parametrize("reach", [None, Reach.PROCESS, Reach.HOST])
def test_a_verdict_is_the_same_the_second_time(model: str, reach: Reach | None, policy: Policy) -> None:
    verdicts = Verdicts(policy)
    facts = RequestFacts(Endpoint.CHAT, model, stream=True, body_bytes=7, reach=reach)
    asked = decide_request(facts, ANONYMOUS, policy)
    given = decide_exchange(facts, ANONYMOUS.name, "t", "u", policy)
    for _ in range(2):
        assert verdicts.request(facts, ANONYMOUS) == asked
        assert verdicts.exchange(facts, ANONYMOUS.name, "t", "u") == given
    assert verdicts.exchange(facts, "somebody else", "t", "u") == decide_exchange(
        facts, "somebody else", "t", "u", policy
    )


def test_a_known_question_is_asked_once_and_what_clients_make_up_is_not_kept(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def decide(facts: RequestFacts, *_: object) -> object:
        asked.append(facts.model)
        return decide_request(facts, ANONYMOUS, policy)

    monkeypatch.setattr(module, "decide_request", decide)
    verdicts = Verdicts(policy)
    for model in ("m", "m", "made up", "made up"):
        verdicts.request(RequestFacts(Endpoint.CHAT, model), ANONYMOUS)
    assert asked == ["m", "made up", "made up"]


def test_there_is_an_end_to_what_is_remembered(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 1)
    verdicts = Verdicts(policy)
    for reach in (Reach.HOST, Reach.NETWORK, Reach.HOST):
        facts = RequestFacts(Endpoint.CHAT, "m", reach=reach)
        assert verdicts.request(facts, ANONYMOUS) == decide_request(facts, ANONYMOUS, policy)


def test_the_tiers_of_a_model_are_looked_through_once_for_all_callers(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Reach] = []

    def within(model: ModelRule, ceiling: Reach, policy: Policy) -> tuple[str, ...]:
        looked.append(ceiling)
        return tiers_within(model, ceiling, policy)

    monkeypatch.setattr(module, "tiers_within", within)
    verdicts = Verdicts(policy)
    for reach in (Reach.HOST, Reach.PROCESS):
        for name in ("alice", "bob"):
            caller = Caller(f"{name}-{reach.word}", reach)
            facts = RequestFacts(Endpoint.CHAT, "m")
            assert verdicts.request(facts, caller) == decide_request(facts, caller, policy)
    assert looked == [Reach.HOST, Reach.PROCESS]
