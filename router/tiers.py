"""In which order to try: pure, from what the policy allows and what the gate last said of its upstreams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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


def plan(decision: Decision, policy: Policy, states: Mapping[str, UpstreamState], turn: int) -> tuple[Attempt, ...]:
    """Attempts in order. `turn` rotates upstreams of equal standing; none beyond the ceiling is ever among them.

    Tiers keep the policy's order (a tier that sleeps must be woken, or it would sleep for ever), but one whose
    upstreams all fail stands behind the others.
    """
    tiers = sorted(decision.tiers, key=lambda tier: _all_fail(_within(policy, tier, decision), states))
    order = [(tier, upstream) for tier in tiers for upstream in _rotated(_within(policy, tier, decision), states, turn)]
    wait = all(_rank(states, upstream) for _, upstream in order)
    return tuple(Attempt(number, tier, upstream, wait) for number, (tier, upstream) in enumerate(order, start=1))


def _within(policy: Policy, tier: str, decision: Decision) -> list[str]:
    return [name for name in policy.tiers[tier].upstreams if policy.upstreams[name].reach <= decision.ceiling]


def _rank(states: Mapping[str, UpstreamState], upstream: str) -> int:
    state = states.get(upstream)
    return _RANK[state.state] if state is not None else _RANK[State.COLD]


def _all_fail(upstreams: list[str], states: Mapping[str, UpstreamState]) -> bool:
    return all(_rank(states, name) == _RANK[State.FAILING] for name in upstreams)


def _rotated(upstreams: list[str], states: Mapping[str, UpstreamState], turn: int) -> list[str]:
    start = turn % len(upstreams) if upstreams else 0
    return sorted(upstreams[start:] + upstreams[:start], key=lambda name: _rank(states, name))
