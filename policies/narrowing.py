"""What a running service may be told without its file: to do less. Nothing here can add, only take away."""

from __future__ import annotations

from dataclasses import dataclass, replace

from policies.facts import Reach
from policies.policy import Policy


@dataclass(frozen=True, slots=True)
class Narrowing:
    """`without`: upstreams that are not used; `reach`: how far any prompt may travel at most."""

    without: frozenset[str] = frozenset()
    reach: Reach = Reach.RENTED

    def and_also(self, other: Narrowing) -> Narrowing:
        """Both: whatever one of them takes away is away."""
        return Narrowing(self.without | other.without, min(self.reach, other.reach))

    @property
    def words(self) -> str:
        """For the ledger and for people; "" when nothing is taken away."""
        without = f"without {', '.join(sorted(self.without))}" if self.without else ""
        reach = f"reach {self.reach.word}" if self.reach is not Reach.RENTED else ""
        return "; ".join(part for part in (without, reach) if part)


def narrow(policy: Policy, narrowing: Narrowing) -> Policy:
    """The same policy with less: an upstream that is left out is on no list any more, so nothing can dial it."""
    upstreams = {
        name: rule
        for name, rule in policy.upstreams.items()
        if name not in narrowing.without and rule.reach <= narrowing.reach
    }
    tiers = {
        name: replace(tier, upstreams=tuple(one for one in tier.upstreams if one in upstreams))
        for name, tier in policy.tiers.items()
    }
    models = {name: replace(model, reach=min(model.reach, narrowing.reach)) for name, model in policy.models.items()}
    return replace(policy, upstreams=upstreams, tiers=tiers, models=models)
