"""Between supervisor and gate, about managed programs: which run, and which are asked for. Names and numbers only."""

from __future__ import annotations

import msgspec


class ProgramState(msgspec.Struct, frozen=True):
    """One program as the supervisor, its parent, sees it. `phase`: stopped, running, draining, stopping, failed."""

    phase: str
    reason: str = ""


class Programs(msgspec.Struct, frozen=True):
    """All of them; `number` grows with each telling."""

    number: int
    states: dict[str, ProgramState]


class Demand(msgspec.Struct, frozen=True):
    """How much one program is asked for, as the gate sees it."""

    waiting: int = 0
    waits_s: float = 0.0  # the longest of those
    under_way: int = 0
    ready: bool = False


class Demands(msgspec.Struct, frozen=True):
    """Of all of them; `number`: the newest telling that the gate has acted upon."""

    number: int
    programs: dict[str, Demand]
