"""That no failover crosses a ceiling: every exchange that a worker could ask for, judged as the gate judges it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from policies import Caller, Endpoint, Policy, Reach, RequestFacts, decide_exchange, decide_request


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model: how far its prompts may go, and what may serve it, in order."""

    name: str
    ceiling: Reach
    tiers: tuple[TierRow, ...]


@dataclass(frozen=True, slots=True)
class TierRow:
    name: str
    within: bool
    upstreams: tuple[tuple[str, Reach], ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """Exchanges judged for every model, tier, upstream and ceiling that a caller or client can have."""

    judged: int
    refused: int
    crossing: tuple[str, ...]  # what would go beyond a ceiling: always empty, or the program is wrong


def rows(policy: Policy) -> tuple[ModelRow, ...]:
    """Every model with its tiers."""
    return tuple(_row(name, policy) for name in policy.models)


def _row(name: str, policy: Policy) -> ModelRow:
    decision = decide_request(RequestFacts(Endpoint.CHAT, name), Caller("anyone"), policy)
    tiers = (
        TierRow(tier, tier in decision.tiers, tuple((one, policy.upstreams[one].reach) for one in rule.upstreams))
        for tier in policy.models[name].tiers
        for rule in (policy.tiers[tier],)
    )
    return ModelRow(name, decision.ceiling, tuple(tiers))


def prove(policy: Policy) -> Proof:
    """Ask for every exchange under every ceiling; count what is refused, name what should have been.

    Upstreams of one tier and one reach are judged by one of them: a decision looks at nothing else of theirs.
    """
    judged = refused = 0
    crossing: list[str] = []
    for reach in Reach:
        asked = replace(policy, callers={"proof": Caller("proof", reach)})
        for model, tier, upstream in _exchanges(policy):
            judged += 1
            decision = decide_exchange(RequestFacts(Endpoint.CHAT, model), "proof", tier, upstream, asked)
            refused += not decision.allowed
            if decision.allowed and policy.upstreams[upstream].reach > min(reach, policy.models[model].reach):
                crossing.append(f"{model} by {tier} to {upstream} under {reach.word}")
    return Proof(judged, refused, tuple(crossing))


def _exchanges(policy: Policy) -> Iterator[tuple[str, str, str]]:
    for model, rule in policy.models.items():
        for tier in rule.tiers:
            one_of_each = {policy.upstreams[name].reach: name for name in policy.tiers[tier].upstreams}
            yield from ((model, tier, name) for name in one_of_each.values())
