"""In which order to try: from what the policy allows and what the gate last said of its upstreams.

A `Planner` remembers what does not change from one request to the next: what the policy says, for as long as it is in
force, and how upstreams stand, until the gate tells something new. Plans depend on its arguments and on turns alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

import msgspec
from msgspec import Struct

from policies import Decision, Policy, Reach
from router.balance import Balance, Moment, ordered
from router.channel.states import State, UpstreamLoad, UpstreamState

_RANK = {State.READY: 0, State.COLD: 1, State.WARMING: 2, State.FAILING: 3}
_UNKNOWN = _RANK[State.COLD]
NO_BALANCE = Balance()


class Attempt(msgspec.Struct, frozen=True):
    """One try: number (from 1), tier and upstream; `wait`: nothing else is ready, so a cold one is waited for."""

    number: int
    tier: str
    upstream: str
    wait: bool


class Load(msgspec.Struct, frozen=True):
    """What a worker knows of the moment. The tables are replaced when they change, and never changed: but for `own`."""

    states: Mapping[str, UpstreamState] = msgspec.field(default_factory=dict)
    loads: Mapping[str, UpstreamLoad] = msgspec.field(default_factory=dict)
    own: Mapping[str, int] = msgspec.field(
        default_factory=dict
    )  # this worker's exchanges under way, fresher than `loads`
    now: float = 0.0  # time.monotonic


class _Members(Struct, frozen=True):
    """A tier's upstreams within a ceiling, and one round of turns: each as often as its weight says."""

    tier: str
    names: tuple[str, ...]
    cycle: tuple[str, ...]


class _Chain(Struct, frozen=True):
    """A model's tiers in order of trying, by the states told; `attempts`: all of them, where no tier has a choice."""

    states: Mapping[str, UpstreamState]
    tiers: tuple[_Members, ...]
    wait: bool  # nothing is ready
    attempts: tuple[Attempt, ...]


class _Standing(Struct, frozen=True):
    """How a tier's upstreams stand to each other, by states and loads, until a moment: lowest first.

    `rotations`: for each standing those that have it, as positions in the tier's round of turns and their names.
    """

    states: Mapping[str, UpstreamState]
    loads: Mapping[str, UpstreamLoad]
    until: float  # UNIX time
    standing: Mapping[str, tuple[int, bool]]
    rotations: tuple[tuple[tuple[int, ...], tuple[str, ...]], ...]


class Planner:
    """All plans under one policy, and whose turn it is in each tier."""

    def __init__(self, policy: Policy, balances: Mapping[str, Balance]) -> None:
        self._policy = policy
        self._balances = balances
        self._turns: Counter[str] = Counter()
        self._members: dict[tuple[str, Reach], _Members] = {}
        self._chains: dict[tuple[str, Reach], _Chain] = {}
        self._standings: dict[tuple[str, Reach], _Standing] = {}

    def settled(self, model: str, ceiling: Reach, states: Mapping[str, UpstreamState]) -> tuple[Attempt, ...]:
        """All attempts, where they are known and the moment changes nothing: no tier has a choice. Else none."""
        known = self._chains.get((model, ceiling))
        return known.attempts if known is not None and known.states is states else ()

    def plan(self, model: str, decision: Decision, load: Load, key: Callable[[], bytes]) -> Iterator[Attempt]:
        """Attempts in order. Upstreams of equal standing are balanced; none beyond the ceiling is ever among them.

        Tiers keep the policy's order (a tier that sleeps must be woken, or it would sleep for ever), but one whose
        upstreams all fail stands behind the others. `model` is the one decided on; `key` tells the conversation's.
        """
        known = self._chain(model, decision, load.states)
        return iter(known.attempts) if known.attempts else self._balanced(known, decision, load, key)

    def _balanced(self, known: _Chain, decision: Decision, load: Load, key: Callable[[], bytes]) -> Iterator[Attempt]:
        number = 0
        for members in known.tiers:
            for name in self._in_tier(members, decision.ceiling, load, key):
                number += 1
                yield Attempt(number, members.tier, name, known.wait)

    def _chain(self, model: str, decision: Decision, states: Mapping[str, UpstreamState]) -> _Chain:
        """A decision's tiers follow from its model and ceiling, so these are what it is remembered by."""
        known = self._chains.get((model, decision.ceiling))
        if known is None or known.states is not states:
            tiers = [self._within(tier, decision.ceiling) for tier in decision.tiers]
            tiers.sort(key=lambda members: all(_rank(states, name) == _RANK[State.FAILING] for name in members.names))
            wait = all(_rank(states, name) for members in tiers for name in members.names)
            known = self._chains[model, decision.ceiling] = _Chain(states, tuple(tiers), wait, _attempts(tiers, wait))
        return known

    def _within(self, tier: str, ceiling: Reach) -> _Members:
        known = self._members.get((tier, ceiling))
        if known is None:
            upstreams = self._policy.upstreams
            names = tuple(name for name in self._policy.tiers[tier].upstreams if upstreams[name].reach <= ceiling)
            allowed = frozenset(names)
            rotation = self._balances.get(tier, NO_BALANCE).rotation
            cycle = tuple(name for name in rotation if name in allowed)
            known = self._members[tier, ceiling] = _Members(tier, names, cycle or names)
        return known

    def _in_tier(self, members: _Members, ceiling: Reach, load: Load, key: Callable[[], bytes]) -> Iterator[str]:
        """By state first: an upstream that fails fast, and so is never busy, must not attract any; nor one whose places
        are taken, or that said when to come back, before then.
        """
        tier, names = members.tier, members.names
        if len(names) <= 1:
            return iter(names)
        self._turns[tier] += 1
        turn, balance = self._turns[tier], self._balances.get(tier, NO_BALANCE)
        known = self._standings.get((tier, ceiling))
        if known is None or known.states is not load.states or known.loads is not load.loads or known.until <= load.now:
            known = self._standings[tier, ceiling] = _standing(members, load)
        of = key() if balance.way == "affinity" else b""
        if balance.way == "least_busy" or of:
            return iter(
                sorted(ordered(names, balance, Moment(load.loads, load.own, turn, of)), key=known.standing.__getitem__)
            )
        start = turn % len(members.cycle)
        return chain.from_iterable(_turned(at, cycle, start) for at, cycle in known.rotations)


def _attempts(tiers: Sequence[_Members], wait: bool) -> tuple[Attempt, ...]:  # noqa: FBT001 - as Attempt has it
    """In order, whatever the moment; none where a tier has several upstreams, whose turns change."""
    if any(len(members.names) > 1 for members in tiers):
        return ()
    alone = [(members.tier, name) for members in tiers for name in members.names]
    return tuple(Attempt(number, tier, name, wait) for number, (tier, name) in enumerate(alone, start=1))


def _turned(at: tuple[int, ...], cycle: tuple[str, ...], start: int) -> Iterator[str]:
    """From `start` on, once around, each once. Mostly only the first is asked for."""
    first = bisect_left(at, start)
    seen: set[str] = set()
    for number in chain(range(first, len(cycle)), range(first)):
        name = cycle[number]
        if name not in seen:
            seen.add(name)
            yield name


def _standing(members: _Members, load: Load) -> _Standing:
    standing = {name: (_rank(load.states, name), _reluctant(load, name)) for name in members.names}
    rests = (known.rest_until for name in members.names if (known := load.loads.get(name)) is not None)
    until = min((rest for rest in rests if rest > load.now), default=float("inf"))
    rotations = []
    for wanted in sorted(set(standing.values())):
        at = tuple(number for number, name in enumerate(members.cycle) if standing[name] == wanted)
        rotations.append((at, tuple(members.cycle[number] for number in at)))
    return _Standing(load.states, load.loads, until, standing, tuple(rotations))


def _rank(states: Mapping[str, UpstreamState], upstream: str) -> int:
    state = states.get(upstream)
    return _RANK[state.state] if state is not None else _UNKNOWN


def _reluctant(load: Load, name: str) -> bool:
    known = load.loads.get(name)
    return known is not None and (known.full or known.rest_until > load.now)
