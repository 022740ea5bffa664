"""Who takes part."""

from __future__ import annotations

from bench.gateways.ai_gateways import AI_GATEWAYS
from bench.gateways.contestant import Contestant
from bench.gateways.limits import FLOOR
from bench.gateways.ours import RINGFENCE, RINGFENCE_ASYNC
from bench.gateways.pass_through import PASS_THROUGH
from bench.gateways.proxies import PROXIES

FIELD: tuple[Contestant, ...] = (RINGFENCE, RINGFENCE_ASYNC, *PASS_THROUGH, *PROXIES, *AI_GATEWAYS, FLOOR)


def named(names: str) -> list[Contestant]:
    """Those of the field, by names with commas between; ValueError names one that is not of it."""
    known = {contestant.name: contestant for contestant in FIELD}
    unknown = set(names.split(",")) - known.keys()
    if unknown:
        raise ValueError(f"not of the field ({', '.join(known)}): {', '.join(sorted(unknown))}")
    return [known[name] for name in names.split(",")]
