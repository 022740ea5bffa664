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


class UpstreamLoad(msgspec.Struct, frozen=True):
    """What one upstream has to do, counted by the gate over all workers."""

    name: str
    in_flight: int = 0
    first_byte_ms: float = 0.0  # moving average over successes; 0: not known yet
    failing: float = 0.0  # share of failures, 0 to 1
    rest_until: float = 0.0  # time.monotonic, which is the whole machine's: until then it wants no request (429)
    full: bool = False  # its own places are taken: a request would wait for one


class Transition(msgspec.Struct, frozen=True):
    """One change of state. `at`: UNIX time."""

    at: float
    before: State
    after: State
    reason: str


class UpstreamReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that the operator may know of one upstream. Times are UNIX times; 0: never."""

    name: str
    state: State
    reason: str
    found: str  # beside the reason, for the operator alone: an address that was refused
    since: float
    reach: str
    backend: str
    software: str
    in_flight: int
    places: int
    first_byte_ms: float
    failing: float
    failures_in_a_row: int
    rest_until: float
    looked_at: float
    certificate_ends: float  # of the TLS certificate that it showed last
    transitions: tuple[Transition, ...]


class Warmed(msgspec.Struct, frozen=True):
    """One row of a warm-up's answer."""

    upstream: str
    tier: str
    state: State
    was_cold: bool
    ms: int
    reason: str = ""
