"""What the gate tells about its upstreams: names and states, never an address."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class State(StrEnum):
    """`cold`: not known to answer · `warming`: asked, loading · `ready` · `failing`: its last answers were failures."""

    COLD = "cold"
    WARMING = "warming"
    READY = "ready"
    FAILING = "failing"


class UpstreamState(msgspec.Struct, frozen=True):
    """One upstream as seen by the gate, which alone changes it."""

    name: str
    state: State
    reason: str = ""
    since: float = 0.0  # UNIX time
