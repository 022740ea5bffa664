"""Which upstream of a tier first: pure. States come before balance: what fails, or is asleep, is never preferred.

`round_robin` takes turns by weight. `least_busy` takes the lowest of (exchanges under way + 1) x time to first byte of
successes x penalty for failures / weight: whoever fails fastest looks slow. `affinity` sends a conversation to the same
upstream each time, where its prompt is cached (rendezvous hashing), unless that one has clearly more than its share
to do (consistent hashing with bounded loads, Mirrokni et al. 2016).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from router.channel.states import UpstreamLoad

PENALTY = 19.0  # one that only fails looks twenty times as busy
SLOWEST, FASTEST = 4.0, 0.25  # how much the speed counts, against the mean of the tier
BOUND = 1.25  # how far over its share one may be for affinity's sake
FEW = 4  # exchanges at once that no upstream is spared from
IDLE = UpstreamLoad("")


class Balance(Struct, frozen=True):
    """How one tier is balanced; made once for its settings. `rotation`: each upstream as often as its weight says."""

    way: str = "round_robin"
    weights: Mapping[str, int] = field(default_factory=dict)
    rotation: tuple[str, ...] = ()


class Moment(Struct, frozen=True):
    """What is known now. `own`: this worker's exchanges under way, fresher than the gate's `loads` over all workers."""

    loads: Mapping[str, UpstreamLoad] = field(default_factory=dict)
    own: Mapping[str, int] = field(default_factory=dict)
    turn: int = 0
    key: bytes = b""  # of the conversation

    def in_flight(self, name: str) -> int:
        return max(self.loads.get(name, IDLE).in_flight, self.own.get(name, 0))


def balance_of(way: str, upstreams: Sequence[str], weights: Mapping[str, int]) -> Balance:
    """Turns are spread: with weights 3 and 1 it is a a b a, not a a a b."""
    shares = {name: weights.get(name, 1) for name in upstreams}
    common = math.gcd(*shares.values()) or 1
    slots = [
        ((number + 0.5) / (share // common), position, name)
        for position, (name, share) in enumerate(shares.items())
        for number in range(share // common)
    ]
    return Balance(way, shares, tuple(name for _, _, name in sorted(slots)))


def ordered(upstreams: Sequence[str], balance: Balance, moment: Moment) -> list[str]:
    """These upstreams of the tier, the best first."""
    turned = _in_turn(upstreams, balance.rotation, moment.turn)
    if balance.way == "least_busy":
        mean = _mean_speed(upstreams, moment.loads)
        return sorted(turned, key=lambda name: _score(name, balance.weights, moment, mean))
    if balance.way == "affinity" and moment.key:
        return _by_affinity(turned, balance.weights, moment)
    return turned


def _in_turn(upstreams: Sequence[str], rotation: Sequence[str], turn: int) -> list[str]:
    allowed = frozenset(upstreams)
    cycle = [name for name in rotation if name in allowed] or list(upstreams)
    start = turn % len(cycle) if cycle else 0
    return list(dict.fromkeys(cycle[start:] + cycle[:start]))


def _mean_speed(upstreams: Sequence[str], loads: Mapping[str, UpstreamLoad]) -> float:
    known = [loads[name].first_byte_ms for name in upstreams if name in loads and loads[name].first_byte_ms > 0]
    return sum(known) / len(known) if known else 0.0


def _score(name: str, weights: Mapping[str, int], moment: Moment, mean_ms: float) -> float:
    load = moment.loads.get(name, IDLE)
    speed = load.first_byte_ms / mean_ms if load.first_byte_ms and mean_ms else 1.0
    slow = min(max(speed, FASTEST), SLOWEST)
    return (moment.in_flight(name) + 1) * slow * (1 + PENALTY * load.failing) / weights.get(name, 1)


def _by_affinity(upstreams: Sequence[str], weights: Mapping[str, int], moment: Moment) -> list[str]:
    """Its own first, then the others in its own order; those over their bound behind all that are not."""
    total = sum(moment.in_flight(name) for name in upstreams) + 1
    shares = sum(weights.get(name, 1) for name in upstreams)

    def over(name: str) -> bool:
        share = math.ceil(BOUND * total * weights.get(name, 1) / shares)
        return moment.in_flight(name) >= max(share, FEW)

    return sorted(upstreams, key=lambda name: (over(name), -_attraction(moment.key, name, weights.get(name, 1))))


def _attraction(key: bytes, name: str, weight: int) -> float:
    """Weighted rendezvous hashing: each upstream draws each key; the share it wins is its weight's."""
    drawn = int.from_bytes(hashlib.blake2b(name.encode(), key=key[:64], digest_size=8).digest(), "big")
    return -weight / math.log((drawn + 0.5) / 2.0**64)
