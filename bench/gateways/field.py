"""Who takes part."""

from __future__ import annotations

from bench.gateways.contestant import Contestant
from bench.gateways.ours import RINGFENCE
from bench.gateways.pass_through import PASS_THROUGH

FIELD: tuple[Contestant, ...] = (RINGFENCE, *PASS_THROUGH)
