"""Who takes part."""

from __future__ import annotations

from bench.gateways.ai_gateways import AI_GATEWAYS
from bench.gateways.contestant import Contestant
from bench.gateways.ours import RINGFENCE
from bench.gateways.pass_through import PASS_THROUGH
from bench.gateways.proxies import PROXIES

FIELD: tuple[Contestant, ...] = (RINGFENCE, *PASS_THROUGH, *PROXIES, *AI_GATEWAYS)
