"""Checks that the records tell a whole story: exchanges end, times run, starts follow stops."""

from __future__ import annotations

from typing import Final

from router.audit.verify.findings import Finding, Weight
from router.audit.verify.stream import Add, Fields, Record

MOST_OPEN = 1_000_000
_SLACK_US = 5_000_000


# What the checks and the views rely on; docs/ledger-format.md has the whole list.
_SHAPES: Final[dict[str, dict[str, type]]] = {
    "start": {"reviewer": str, "durability": str, "previous": str, "heartbeat_s": int},
    "stop": {"reason": str},
    "policy": {"digest": str},
    "enforcement": {"process": str, "level": str},
    "probe": {"upstream": str, "state": str},
    "decision": {"request_id": str, "caller": str, "model": str, "endpoint": str, "upstream": str, "reason": str},
    "outcome": {"decision": int, "ending": str},
    "denial": {"request_id": str, "caller": str, "model": str, "endpoint": str, "reason": str},
    "heartbeat": {"open": int},
    "key_epoch": {"sealed": str, "reviewer": str, "boot": str, "sig": str},
    "checkpoint": {"size": int, "root": str, "sig": str},
    "recovery_gap": {"bytes": int, "lost_from": int},
    "erasure": {"subject": str, "reason": str},
    "reload": {"result": str},
    "admin": {"action": str},
}

_NO_SHAPE: Final[dict[str, type]] = {"": type}  # nothing is of this shape: the kind is unknown


class Story:
    """One pass over the meaning of the records. It remembers what is open, never what is over."""

    def __init__(self, first: int, add: Add) -> None:
        self._first = first  # what lies before was pruned, or given up
        self._add = add
        self._open: dict[int, None] = {}
        self._ended: bool | None = None  # how the last process ended, None before the first
        self._heartbeat_us = 0
        self._boot = ""  # monotonic times are of one boot
        self._last: tuple[int, int] | None = None  # the last record's times: monotonic, wall
        self.kinds: dict[str, int] = {}

    def see(self, record: Record) -> None:
        kind, body = record.fields["kind"], record.fields["body"]
        for name, wanted in _SHAPES.get(kind, _NO_SHAPE).items():
            if type(body.get(name)) is not wanted:
                self._say(record, Weight.TAMPERED, "body", f"its body is not that of a record of kind {kind!s:.20}")
                return
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        self._time(record, kind)
        if kind == "decision":
            self._open[record.number] = None
            if len(self._open) > MOST_OPEN:
                self._give_up(record)
        elif kind == "outcome":
            self._outcome(record, body)
        elif kind in ("start", "stop", "recovery_gap"):
            self._process(record, kind, body)

    def _give_up(self, record: Record) -> None:
        """No gate has so many exchanges under way: whatever wrote this, we do not remember it all."""
        self._say(record, Weight.INCOMPLETE, "open", f"more than {MOST_OPEN} decisions before it have no outcome")
        self._open.clear()
        self._first = record.number + 1  # outcomes of what was forgotten are not held against it

    def _outcome(self, record: Record, body: Fields) -> None:
        decision = body["decision"]
        if decision in self._open:
            del self._open[decision]
        elif decision >= self._first:
            self._say(record, Weight.TAMPERED, "orphan", f"an outcome of no open decision: {decision!s:.20}")

    def _process(self, record: Record, kind: str, body: Fields) -> None:
        if kind == "recovery_gap":
            told = f"{body['bytes']} bytes of a torn tail were set aside at start: an unfinished record may be lost"
            self._say(record, Weight.INCOMPLETE, "gap", told)
            return
        self._ended = kind == "stop"
        if kind == "start":
            self._heartbeat_us = body["heartbeat_s"] * 1_000_000
            if body["previous"] == "crashed":
                self._say(record, Weight.NOTE, "crash", "the process before this one did not end in order")

    def _time(self, record: Record, kind: str) -> None:
        """Within one boot both clocks run; while a process runs, silence is never longer than a heartbeat."""
        mono, wall = record.fields["mono"], record.fields["t"]
        if kind == "key_epoch" and record.fields["body"]["boot"] != self._boot:
            self._boot, self._last = record.fields["body"]["boot"], None
        if self._last is not None:
            passed, shown = mono - self._last[0], wall - self._last[1]
            if passed < 0:
                self._say(record, Weight.TAMPERED, "time", "its monotonic time is before that of the record before it")
            elif self._ended is False and kind != "key_epoch" and passed > 2 * self._heartbeat_us + _SLACK_US:
                self._say(
                    record,
                    Weight.INCOMPLETE,
                    "silence",
                    f"{passed // 1_000_000} s of silence before it",
                )
            if abs(shown - passed) > _SLACK_US:
                self._say(
                    record,
                    Weight.NOTE,
                    "clock",
                    f"before it the wall clock was set by {round((shown - passed) / 1_000_000)} s",
                )
        self._last = (mono, wall)

    def finish(self) -> None:
        """Exchanges under way are open in a running ledger; in one that has stopped, their outcomes are missing."""
        weight = Weight.INCOMPLETE if self._ended else Weight.NOTE
        for decision in self._open:
            self._add(Finding(weight, "open", "a decision without an outcome", decision))
        if self._ended is False:
            self._add(
                Finding(Weight.NOTE, "running", "it does not end with a stop: it is being written, or its writer died")
            )

    def _say(self, record: Record, weight: Weight, code: str, message: str) -> None:
        self._add(Finding(weight, code, message, record.number, record.file, record.offset))
