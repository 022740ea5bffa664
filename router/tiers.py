"""In which order to try: pure, from what the policy allows and what the gate last said of its upstreams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from policies import Decision, Policy
from router.balance import Balance, Moment, ordered
from router.channel.states import State, UpstreamState

_RANK = {State.READY: 0, State.COLD: 1, State.WARMING: 2, State.FAILING: 3}
NO_BALANCE = Balance()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: number (from 1), tier and upstream; `wait`: nothing else is ready, so a cold one is waited for."""

    number: int
    tier: str
    upstream: str
    wait: bool


@dataclass(frozen=True, slots=True)
class Load:
    """What a worker knows of the moment: upstream states and loads from the gate, and whose turn it is in each tier."""

    states: Mapping[str, UpstreamState] = field(default_factory=dict)
    moments: Mapping[str, Moment] = field(default_factory=dict)  # by tier
    balances: Mapping[str, Balance] = field(default_factory=dict)  # by tier
    now: float = 0.0  # UNIX time


def plan(decision: Decision, policy: Policy, load: Load) -> tuple[Attempt, ...]:
    """Attempts in order. Upstreams of equal standing are balanced; none beyond the ceiling is ever among them.

    Tiers keep the policy's order (a tier that sleeps must be woken, or it would sleep for ever), but one whose
    upstreams all fail stands behind the others.
    """
    within = {tier: _within(policy, tier, decision) for tier in decision.tiers}
    tiers = sorted(within, key=lambda tier: _all_fail(within[tier], load))
    order = [(tier, upstream) for tier in tiers for upstream in _in_tier(within[tier], tier, load)]
    wait = all(_rank(load, upstream) for _, upstream in order)
    return tuple(Attempt(number, tier, upstream, wait) for number, (tier, upstream) in enumerate(order, start=1))


def _within(policy: Policy, tier: str, decision: Decision) -> list[str]:
    return [name for name in policy.tiers[tier].upstreams if policy.upstreams[name].reach <= decision.ceiling]


def _rank(load: Load, upstream: str) -> int:
    state = load.states.get(upstream)
    return _RANK[state.state] if state is not None else _RANK[State.COLD]


def _all_fail(upstreams: list[str], load: Load) -> bool:
    return all(_rank(load, name) == _RANK[State.FAILING] for name in upstreams)


def _in_tier(upstreams: list[str], tier: str, load: Load) -> list[str]:
    """By state first: an upstream that fails fast, and so is never busy, must not attract any; nor one whose places
    are taken, or that said when to come back, before then.
    """
    if len(upstreams) == 1:
        return upstreams
    moment = load.moments.get(tier, Moment())
    balanced = ordered(upstreams, load.balances.get(tier, NO_BALANCE), moment)

    def reluctant(name: str) -> bool:
        known = moment.loads.get(name)
        return known is not None and (known.full or known.rest_until > load.now)

    return sorted(balanced, key=lambda name: (_rank(load, name), reluctant(name)))
