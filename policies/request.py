"""May this request be served, how far may it travel, and by which tiers: decided from facts alone."""

from __future__ import annotations

from collections.abc import Callable

from policies.decision import Decision, Reason
from policies.facts import Caller, Reach, RequestFacts
from policies.policy import ModelRule, Policy

Within = Callable[[ModelRule, Reach, Policy], tuple[str, ...]]


def tiers_within(model: ModelRule, ceiling: Reach, policy: Policy) -> tuple[str, ...]:
    """The model's tiers, in order, that have an upstream within the ceiling: all of them are looked at."""
    reach = policy.upstreams
    return tuple(
        tier for tier in model.tiers if any(reach[name].reach <= ceiling for name in policy.tiers[tier].upstreams)
    )


def decide_request(facts: RequestFacts, caller: Caller, policy: Policy, within: Within = tiers_within) -> Decision:
    """Allowed with a ceiling and the model's tiers (in order) that have an upstream within it, or refused.

    A model is known by its exact name or not at all: nothing is inferred from `org/name:provider`, so a name can never
    choose a provider. The ceiling is the narrowest of the caller's, the model's and the client's own. `within`: as
    tiers_within says, by whoever remembers it.
    """
    name = facts.model or policy.default_model
    model = policy.models.get(name)
    if model is None:
        return Decision(allowed=False, reason=Reason.MODEL_UNKNOWN)
    if caller.models is not None and name not in caller.models:
        return Decision(allowed=False, reason=Reason.MODEL_NOT_FOR_CALLER, detail=f"{caller.name} may not use {name}")
    ceiling = min(caller.reach, model.reach)
    if facts.reach is not None:
        ceiling = min(ceiling, facts.reach)
    tiers = within(model, ceiling, policy)
    if not tiers:
        detail = f"no tier of {name} lies within {ceiling.word}"
        return Decision(allowed=False, reason=Reason.REACH_EXCEEDED, detail=detail, ceiling=ceiling)
    return Decision(allowed=True, reason=Reason.ALLOWED, ceiling=ceiling, tiers=tiers)
