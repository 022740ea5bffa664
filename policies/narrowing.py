"""What a running service may be told without its file: to do less. Nothing here can add, only take away."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from policies.facts import Reach
from policies.policy import Policy, UpstreamRule

_REACHES: Final = {reach.word: reach for reach in Reach}
Where = tuple[str, int] | str  # host and port, or the engine's name


class Narrowing(Struct, frozen=True):
    """`without`: upstreams that are not used; `reach`: how far any prompt may travel at most.

    `places`: where each of them was when it was left out. A server that the file calls otherwise since stays away too.
    """

    without: frozenset[str] = frozenset()
    reach: Reach = Reach.RENTED
    places: frozenset[tuple[str, Where]] = frozenset()

    def and_also(self, other: Narrowing) -> Narrowing:
        """Both: whatever one of them takes away is away."""
        return Narrowing(self.without | other.without, min(self.reach, other.reach), self.places | other.places)

    def keeps(self, rule: UpstreamRule) -> bool:
        """Whether this upstream may still be used."""
        here = _where(rule)
        return (
            rule.name not in self.without
            and rule.reach <= self.reach
            and (here is None or all(here != there for _, there in self.places))
        )

    @property
    def words(self) -> str:
        """For the ledger and for people; "" when nothing is taken away."""
        without = f"without {', '.join(sorted(self.without))}" if self.without else ""
        reach = f"reach {self.reach.word}" if self.reach is not Reach.RENTED else ""
        return "; ".join(part for part in (without, reach) if part)


class Unfit(StrEnum):
    """Why what was asked for is no narrowing."""

    EMPTY = "takes_nothing_away"
    NO_REACH = "no_such_reach"
    UNLISTED = "upstream_not_listed"
    WIDER = "wider_than_in_force"


class NotNarrower(Struct, frozen=True):
    """What was asked for would not take away; `text` says why and what to do."""

    reason: Unfit
    text: str


def asked_narrowing(
    without: Sequence[str], reach: str, now: Narrowing, listed: Collection[str]
) -> Narrowing | NotNarrower:
    """What an operator's words take away; `now`: what is taken away already, `listed`: the file's upstreams.

    To leave out what is left out already is fine: who repeats an order means the same by it. A reach that lies beyond
    the one in force is refused, not ignored: whoever asks for it would believe that it holds.
    """
    unlisted = next((name for name in without if name not in listed), None)
    if unlisted is not None:
        return NotNarrower(Unfit.UNLISTED, f"no upstream is called '{unlisted[:64]}'")
    if reach and reach not in _REACHES:
        return NotNarrower(Unfit.NO_REACH, f"the reach must be one of {', '.join(_REACHES)}")
    wanted = _REACHES[reach] if reach else now.reach
    if wanted > now.reach:
        text = f"the reach is '{now.reach.word}' already; only 'ringfence reload --lift' on its machine gives more"
        return NotNarrower(Unfit.WIDER, text)
    if not without and wanted is Reach.RENTED:
        return NotNarrower(Unfit.EMPTY, "that takes nothing away: name upstreams to leave out, or a reach to keep to")
    return Narrowing(frozenset(without), wanted)


def located(narrowing: Narrowing, policy: Policy) -> Narrowing:
    """The same, and where each upstream that it names is in this policy."""
    rules = ((name, policy.upstreams.get(name)) for name in narrowing.without)
    places = {(name, here) for name, rule in rules if rule is not None and (here := _where(rule)) is not None}
    return replace(narrowing, places=narrowing.places | places)


def followed(narrowing: Narrowing, before: Policy, after: Policy) -> Narrowing:
    """The same, and where each upstream was last whose name the new policy drops: it may have moved since."""
    gone = Narrowing(narrowing.without - after.upstreams.keys())
    return replace(narrowing, places=narrowing.places | located(gone, before).places)


def beside(narrowing: Narrowing, policy: Policy) -> tuple[str, ...]:
    """Upstreams that nobody named, and that are away with the one that was: they are at its place."""
    rules = (rule for rule in policy.upstreams.values() if not narrowing.keeps(rule))
    return tuple(sorted({rule.name for rule in rules if rule.reach <= narrowing.reach} - narrowing.without))


def unlisted(narrowing: Narrowing, policy: Policy) -> dict[str, tuple[str, ...]]:
    """The names that it left out and this policy does not know: the upstreams that are there now, and stay away too."""
    there: dict[str, set[Where]] = {name: set() for name in sorted(narrowing.without - policy.upstreams.keys())}
    for name, place in narrowing.places:
        if name in there:
            there[name].add(place)
    rules = policy.upstreams.values()
    return {name: tuple(sorted(rule.name for rule in rules if _where(rule) in found)) for name, found in there.items()}


def _where(rule: UpstreamRule) -> Where | None:
    """None: a program of ours that has no address: it is known by its name alone."""
    if rule.destination is not None:
        return rule.destination.host, rule.destination.port
    return rule.engine


def narrow(policy: Policy, narrowing: Narrowing) -> Policy:
    """The same policy with less: an upstream that is left out is on no list any more, so nothing can dial it."""
    upstreams = {name: rule for name, rule in policy.upstreams.items() if narrowing.keeps(rule)}
    tiers = {
        name: replace(tier, upstreams=tuple(one for one in tier.upstreams if one in upstreams))
        for name, tier in policy.tiers.items()
    }
    models = {name: replace(model, reach=min(model.reach, narrowing.reach)) for name, model in policy.models.items()}
    return replace(policy, upstreams=upstreams, tiers=tiers, models=models)
