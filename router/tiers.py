"""In which order to try: pure, from what the policy allows and what the gate last said of its upstreams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from policies import Decision, Policy
from router.channel.states import State, UpstreamState

_RANK = {State.READY: 0, State.COLD: 1, State.WARMING: 2, State.FAILING: 3}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: number (from 1), tier and upstream; `wait`: nothing else is ready, so a cold one is waited for."""

    number: int
    tier: str
    upstream: str
    wait: bool


@dataclass(frozen=True, slots=True)
class Load:
    """What a worker knows of the moment: upstream states from the gate, its own requests under way, and its turn."""

    states: Mapping[str, UpstreamState] = field(default_factory=dict)
    busy: Mapping[str, int] = field(default_factory=dict)
    least_busy: frozenset[str] = frozenset()  # tiers that are balanced by it; the others take turns
    turn: int = 0


def plan(decision: Decision, policy: Policy, load: Load) -> tuple[Attempt, ...]:
    """Attempts in order. Upstreams of equal standing take turns; none beyond the ceiling is ever among them.

    Tiers keep the policy's order (a tier that sleeps must be woken, or it would sleep for ever), but one whose
    upstreams all fail stands behind the others.
    """
    tiers = sorted(decision.tiers, key=lambda tier: _all_fail(_within(policy, tier, decision), load))
    order = [(tier, upstream) for tier in tiers for upstream in _in_tier(_within(policy, tier, decision), tier, load)]
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
    """By state first: an upstream that fails fast, and so is never busy, must not attract requests."""
    start = load.turn % len(upstreams) if upstreams else 0
    turned = upstreams[start:] + upstreams[:start]
    by_busy = tier in load.least_busy
    return sorted(turned, key=lambda name: (_rank(load, name), load.busy.get(name, 0) if by_busy else 0))
