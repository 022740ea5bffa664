"""Which model a name means: only what the operator wrote, and never more than the caller may use."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from policies import (
    AutoModel,
    AutoRule,
    Caller,
    Condition,
    Endpoint,
    PromptFacts,
    Reach,
    Reason,
    RequestFacts,
    choose_model,
    may_ask_for,
    plain_name,
)
from policies.choosing import matches
from tests.policies.tables import CALLERS, POLICY

AUTO = AutoModel(
    "auto",
    (
        AutoRule("rented", Condition(images=True)),
        AutoRule("coder", Condition(prompt_over=100)),
        AutoRule("house"),
    ),
)
ALIASES = {"gpt-4o": "house", "org/name:*": "coder", "any": "auto"}
WISE = replace(POLICY, autos={"auto": AUTO}, aliases=ALIASES)
PICTURE, LONG, SHORT = PromptFacts(images=1), PromptFacts(characters=101), PromptFacts(characters=100)


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("coder", "coder"),
        ("", "coder"),
        ("gpt-4o", "house"),
        ("org/name:novita", "coder"),
        ("org/name:", "coder"),
        ("org/name", "org/name"),  # no provider at all was not written
        ("org/name:a:b", "org/name:a:b"),
        ("other/name:novita", "other/name:novita"),
        ("any", "auto"),
        ("GPT-4o", "GPT-4o"),
        ("org/name:*", "coder"),
    ],
)
def test_names(name: str, means: str) -> None:
    assert plain_name(name, WISE) == means


def test_without_aliases_a_name_is_itself() -> None:
    assert plain_name("org/name:novita", POLICY) == "org/name:novita"


@pytest.mark.parametrize(
    ("prompt", "caller", "reach", "model"),
    [
        (PICTURE, "alice", None, "rented"),
        (LONG, "alice", None, "coder"),
        (SHORT, "alice", None, "house"),
        (PICTURE, "alice", Reach.NETWORK, "house"),  # the vision model lies beyond the ceiling: the next that matches
        (PICTURE, "only-house", None, "house"),  # may not use it: as if the rule were not there
        (LONG, "only-house", None, "house"),
    ],
)
def test_the_first_rule_that_may_be_served(prompt: PromptFacts, caller: str, reach: Reach | None, model: str) -> None:
    facts = RequestFacts(Endpoint.CHAT, "auto", reach=reach)
    assert choose_model(facts, lambda: prompt, CALLERS[caller], WISE).model == model


def test_when_none_may_be_served_the_first_match_is_refused_with_its_own_reason() -> None:
    nobody = Caller("nobody", models=frozenset())
    choice = choose_model(RequestFacts(Endpoint.CHAT, "any"), lambda: PICTURE, nobody, WISE)
    assert choice.model == "rented"
    decisions = [rule.decision.reason if rule.decision is not None else None for rule in choice.rules]
    assert decisions == [Reason.MODEL_NOT_FOR_CALLER, None, Reason.MODEL_NOT_FOR_CALLER]
    last = replace(WISE, autos={"auto": AutoModel("auto", (AutoRule("coder", Condition(tools=True)),))})
    assert choose_model(RequestFacts(Endpoint.CHAT, "auto"), lambda: SHORT, nobody, last).model == "coder"


def test_the_prompt_is_not_looked_at_for_any_other_name() -> None:
    def never() -> PromptFacts:
        raise AssertionError

    for name in ("coder", "", "gpt-4o", "unknown"):
        assert not choose_model(RequestFacts(Endpoint.CHAT, name), never, CALLERS["alice"], WISE).rules


@pytest.mark.parametrize(
    ("name", "caller", "may"),
    [
        ("auto", "alice", True),
        ("auto", "only-house", True),
        ("gpt-4o", "only-house", True),
        ("org/name:x", "only-house", False),
        ("coder", "only-house", False),
        ("unknown", "alice", False),
    ],
)
def test_who_may_ask(name: str, caller: str, may: bool) -> None:
    assert may_ask_for(name, CALLERS[caller], WISE) is may


@given(st.text(max_size=30), st.booleans())
def test_no_name_leads_to_a_model_that_the_caller_may_not_use(name: str, picture: bool) -> None:
    facts = RequestFacts(Endpoint.CHAT, name)
    choice = choose_model(facts, lambda: PICTURE if picture else LONG, CALLERS["only-house"], WISE)
    assert choice.model in (name, *ALIASES.values())
    assert name != "auto" or choice.model == "house"


@pytest.mark.parametrize(
    ("when", "prompt", "unmet"),
    [
        ({}, {}, ""),
        ({"images": True}, {}, "not: images: true (0)"),
        ({"images": False}, {"images": 2}, "not: images: false (2)"),
        ({"tools": True}, {"tools": 1}, ""),
        ({"prompt_over": 10}, {"characters": 10}, "not: prompt over 10 (10 characters)"),
        ({"messages_over": 2}, {"messages": 3}, ""),
        ({"answer_over": 0}, {}, "not: answer over 0 (not said)"),
        ({"answer_over": 10}, {"answer_tokens": 11}, ""),
        ({"code_over": 0.5}, {"code_share": 0.5}, "not: code over 0.5 (0.50 of the lines)"),
        ({"languages": ("de", "fr")}, {"language": "en"}, "not: language de/fr (en)"),
        ({"tools": True, "images": True}, {"images": 1}, "not: tools: true (0)"),
    ],
)
def test_conditions(when: dict[str, Any], prompt: dict[str, Any], unmet: str) -> None:
    found, met = matches(Condition(**when), PromptFacts(**prompt))
    assert found == unmet
    assert bool(met) is not bool(unmet)
