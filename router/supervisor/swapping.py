"""Which managed program is started, drained or stopped now: one pure function over what is known of all of them.

Of a group (`exclusive`) one program at a time holds the card: from its start until nothing of it is left. Its requests
are served in a batch for as long as nobody else has waited beyond its patience; then it finishes what runs and gives
way to whoever waits longest. So two models that are asked for in turn swap once each patience, not once each request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

BACK_OFF_S: Final = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)  # after so many failures in a row; the last one repeats


class Phase(StrEnum):
    """`running` until it is told to finish; `draining`: finishes what it has; `failed`: tried again at `retry_at`."""

    STOPPED = "stopped"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"
    FAILED = "failed"


HOLDING: Final = frozenset({Phase.RUNNING, Phase.DRAINING, Phase.STOPPING})


class Do(StrEnum):
    START = "start"
    DRAIN = "drain"  # no request begins any more
    STOP = "stop"  # polite signal, then kill


class Known(Struct, frozen=True):
    """One managed program as it is now. Times are seconds of one clock."""

    name: str
    phase: Phase = Phase.STOPPED
    group: str = ""
    waiting: int = 0  # requests that cannot begin yet
    waiting_since: float = 0.0  # of the one that waits longest
    under_way: int = 0  # requests that it has
    settled: bool = True  # the gate has heard of the phase, so no request begins that we do not know of
    ready: bool = False  # it answers
    ready_since: float = 0.0
    started_at: float = 0.0
    used_at: float = 0.0  # when a request of its was last seen
    retry_at: float = 0.0
    eager: bool = False
    ordered: bool = False  # an operator asked for it: before everybody who waits
    dismissed: bool = False  # an operator wants it stopped, or it is no longer in the settings
    idle_s: float = 900.0  # 0: never
    patience_s: float = 30.0
    start_within_s: float = 180.0


class Action(Struct, frozen=True):
    """What is to be done with one program, and why: the reason goes into the ledger."""

    name: str
    do: Do
    reason: str


def decide(programs: Sequence[Known], now: float) -> list[Action]:
    """At most one action for each group (a program without one is a group of its own)."""
    return [action for group in _groups(programs) for action in _in_group(group, now)]


def back_off_s(failures: int) -> float:
    """How long to wait after so many failures in a row (from 1)."""
    return BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1]


def _groups(programs: Iterable[Known]) -> list[list[Known]]:
    groups: dict[tuple[str, str], list[Known]] = {}
    for one in programs:
        groups.setdefault((one.group, "" if one.group else one.name), []).append(one)
    return list(groups.values())


def _in_group(group: list[Known], now: float) -> Iterator[Action]:
    holder = next((one for one in group if one.phase in HOLDING), None)
    others = _in_line([one for one in group if one is not holder], now)
    if holder is None:
        if others:
            yield Action(others[0].name, Do.START, _why_started(others[0]))
        return
    if holder.phase is Phase.RUNNING:
        reason = _why_it_ends(holder, others, now)
        if reason:
            yield Action(holder.name, Do.DRAIN, reason)
    elif holder.phase is Phase.DRAINING and holder.settled and not holder.under_way:
        yield Action(holder.name, Do.STOP, "finished")


def _in_line(candidates: list[Known], now: float) -> list[Known]:
    """Who wants to run, in order: an operator's order, whoever waits longest, then the eager in the file's order."""
    wanted = [one for one in candidates if _wanted(one) and not one.dismissed and now >= one.retry_at]
    return sorted(wanted, key=lambda one: (not one.ordered, not one.waiting, one.waiting_since if one.waiting else 0.0))


def _wanted(one: Known) -> bool:
    return one.ordered or one.waiting > 0 or one.eager


def _why_started(one: Known) -> str:
    return "ordered" if one.ordered else "requested" if one.waiting else "eager"


def _why_it_ends(holder: Known, others: list[Known], now: float) -> str:
    """Why the program that holds the group should finish now; "" when it should not."""
    if holder.dismissed:
        return "dismissed"
    if not holder.ready:
        late = now - holder.started_at > holder.start_within_s
        return f"not ready within {holder.start_within_s:g} s" if late else ""
    busy = holder.waiting > 0 or holder.under_way > 0
    next_one = next((one for one in others if one.ordered or one.waiting), None)
    if next_one is not None:
        since = max(next_one.waiting_since, holder.ready_since)
        if next_one.ordered or not busy or now - since > holder.patience_s:
            return f"gives way to {next_one.name}"
    idle = not busy and not holder.eager and holder.idle_s > 0
    return "idle" if idle and now - max(holder.used_at, holder.ready_since) > holder.idle_s else ""
