"""What the gate decides again, from names alone: whoever asks, only the policy's own tables count."""

from __future__ import annotations

from policies.decision import Decision, Reason
from policies.facts import ANONYMOUS, Caller, RequestFacts
from policies.policy import ModelRule, Policy
from policies.request import Within, decide_request, tiers_within


def decide_exchange(
    facts: RequestFacts, caller_name: str, tier: str, upstream: str, policy: Policy, within: Within = tiers_within
) -> Decision:
    """May this caller's request go to this upstream as part of this tier? Default deny; the last line allows."""
    caller = _caller(caller_name, policy)
    if caller is None:
        return Decision(allowed=False, reason=Reason.CALLER_UNKNOWN)
    asked = decide_request(facts, caller, policy, within)
    if not asked.allowed:
        return asked
    model = policy.models[facts.model or policy.default_model]
    wrong = _wrong_names(model, tier, upstream, policy)
    if wrong is not None:
        return Decision(allowed=False, reason=wrong, detail=model.name, ceiling=asked.ceiling)
    reach = policy.upstreams[upstream].reach
    if reach > asked.ceiling:
        detail = f"{upstream} is {reach.word}, the ceiling is {asked.ceiling.word}"
        return Decision(allowed=False, reason=Reason.REACH_EXCEEDED, detail=detail, ceiling=asked.ceiling)
    return Decision(allowed=True, reason=Reason.ALLOWED, ceiling=asked.ceiling, tiers=(tier,))


def _wrong_names(model: ModelRule, tier: str, upstream: str, policy: Policy) -> Reason | None:
    """What does not belong together. The names came from a worker, so they are looked up, never believed."""
    if upstream not in policy.upstreams:
        return Reason.UPSTREAM_UNKNOWN
    if tier not in model.tiers:
        return Reason.TIER_NOT_FOR_MODEL
    return None if upstream in policy.tiers[tier].upstreams else Reason.UPSTREAM_NOT_IN_TIER


def _caller(name: str, policy: Policy) -> Caller | None:
    if policy.any_caller and name == ANONYMOUS.name:
        return ANONYMOUS
    return policy.callers.get(name)
