"""What an exchange works in: one snapshot of settings and what was built from it. Swapped whole on reload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from router.gate.admission import Admission
from router.gate.doors import Doors
from router.gate.metrics import Metrics
from router.gate.recorder import Recorder
from router.gate.route import Routes
from router.gate.upstreams import Upstreams
from router.settings.snapshot import Snapshot
from router.verdicts import Verdicts


@dataclass(frozen=True, slots=True)
class World:
    snapshot: Snapshot
    recorder: Recorder
    upstreams: Upstreams
    admissions: Mapping[str, Admission]  # by tier
    verdicts: Verdicts
    metrics: Metrics = field(default_factory=Metrics)  # handed on at a reload
    doors: Doors = field(default_factory=lambda: Doors(lambda _: None))  # of managed programs; handed on at a reload
    routes: Routes = field(init=False)
    chooses: bool = field(init=False)  # some tier has more than one upstream: workers look at their loads

    def __post_init__(self) -> None:
        object.__setattr__(self, "routes", Routes(self.snapshot, self.upstreams, self.admissions, self.verdicts))
        tiers = self.snapshot.policy.tiers.values()
        object.__setattr__(self, "chooses", any(len(tier.upstreams) > 1 for tier in tiers))
