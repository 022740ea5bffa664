"""Checks that the records tell a whole story: exchanges end, times run, starts follow stops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter, sub
from typing import Final, NamedTuple

from router.audit.verify.batch import Batch, Record
from router.audit.verify.findings import Finding, Weight
from router.audit.verify.lines import Columns, Fields
from router.audit.verify.stream import Add

MOST_OPEN = 1_000_000
_SLACK_US = 5_000_000
_EVER: Final = 1 << 100  # longer than any silence

# What the checks and the views rely on; docs/ledger-format.md has the whole list.
FORMED: Final[dict[str, dict[str, type]]] = {
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
_FORMS: Final = {kind: (tuple(shape), tuple(shape.values())) for kind, shape in FORMED.items()}
_NO_FORM: Final = (("",), (type,))  # nothing is of this form: the kind is unknown
_PROCESS: Final = frozenset({"start", "stop", "recovery_gap", "erasure"})
_USUAL: Final = frozenset(FORMED) - _PROCESS - {"key_epoch"}
_VALUES: Final = {kind: itemgetter(*shape) for kind, shape in FORMED.items()}


def _are_formed(kinds: Sequence[str], bodies: Sequence[Fields]) -> bool:
    for kind in set(kinds):
        names, types = _FORMS[kind]
        try:
            values = [_VALUES[kind](body) for body, of in zip(bodies, kinds, strict=True) if of == kind]
        except KeyError:
            return False
        if {tuple(map(type, each)) for each in (values if len(names) > 1 else zip(values, strict=True))} != {types}:
            return False
    return True


def _gap(body: Fields) -> str:
    if "signed" not in body:
        return f"{body['bytes']} bytes of a torn tail were set aside at start: an unfinished record may be lost"
    which, signed = f"log {body.get('log', 'unknown')!s:.32}", f"{body['signed']!s:.20} records were signed for there"
    if "quarantine" not in body:
        told = f"{body.get('reason')!s:.64}"
        return f"the service wrote {which} in this place before, and it was not there any more ({told}): {signed}"
    return (
        f"this log was begun after {which} was given up ({body.get('reason')!s:.64}): {signed}, "
        f"{body['lost_from']!s:.20} were left; see its quarantine"
    )


class Chapter(NamedTuple):
    """The story of a segment that was read by itself, without its first record, an epoch's: who reads on tells that."""

    open: dict[int, None]  # decisions that it leaves open
    earlier: list[int]  # decisions before it that its outcomes name
    gap_us: int  # the longest silence in it, as long as it says nothing of its process
    ended: bool | None
    silence_us: int
    boot: object
    mono: int
    wall: int
    may_begin: int
    kinds: Counter[str]


class Story:
    """One pass over the meaning of the records. It remembers what is open, never what is over."""

    def __init__(self, first: int, add: Add, *, apart: bool = False) -> None:
        """`apart`: this is one segment's, for a Chapter; what it needs of those before is kept for who joins them."""
        self._earlier: list[int] | None = [] if apart else None
        self._gap_us = 0
        self._first = first  # what lies before was pruned, or given up
        self._begins = first
        self._may_begin = 0  # as erasure records say
        self._add = add
        self._open: dict[int, None] = {}
        self._ended: bool | None = None  # how the last process ended, None before the first
        self._silence_us = _EVER  # no record comes later than this after the one before it
        self._boot: object = None  # monotonic times are of one boot
        self._mono = self._wall = 0  # the last record's times
        self.kinds: Counter[str] = Counter()

    def see(self, batch: Batch) -> None:
        columns = batch.columns
        self.kinds.update(columns.kinds)
        if columns.kinds[0] == "key_epoch":
            self._enter_boot(columns)
        elif self._earlier is not None and self._ended is None:
            monos = [self._mono, *columns.monos]
            self._gap_us = max(self._gap_us, *map(sub, monos[1:], monos))
        if self._is_usual(columns):
            self._mono, self._wall = columns.monos[-1], columns.times[-1]
            self._exchanges(batch)
            return
        for record in batch.records():
            self._one(record)

    def _is_usual(self, columns: Columns) -> bool:
        """Whether _one() would find nothing in these but perhaps an orphan: asked of all at once, which is faster."""
        times, monos, kinds, bodies, _, formed, _ = columns
        if not _USUAL.issuperset(kinds) or len(self._open) + len(kinds) > MOST_OPEN:
            return False
        drifts = [*map(sub, times, monos), self._wall - self._mono]
        return (
            self._mono <= monos[0]
            and monos == sorted(monos)
            and monos[-1] - self._mono <= self._silence_us
            and max(drifts) - min(drifts) <= _SLACK_US
            and (formed or _are_formed(kinds, bodies))
        )

    def _exchanges(self, batch: Batch) -> None:
        opened, kinds, ends = self._open, batch.columns.kinds, iter(batch.columns.ends)
        for number, kind in enumerate(kinds, batch.first):
            if kind == "decision":
                opened[number] = None
            elif kind == "outcome":
                decision = next(ends)
                if decision in opened:
                    del opened[decision]
                else:
                    self._outcome(batch.record(number - batch.first), decision)

    def _enter_boot(self, columns: Columns) -> None:
        """Times of another boot are not compared with those before."""
        boot = columns.bodies[0].get("boot")
        if boot != self._boot:
            self._boot, self._mono, self._wall = boot, columns.monos[0], columns.times[0]

    def _one(self, record: Record) -> None:
        kind, body = record.kind, record.body
        names, types = _FORMS.get(kind, _NO_FORM)
        if tuple(map(type, map(body.get, names))) != types:
            told = f"its body is not that of a record of kind {kind!s:.20}"
            self._say(record, Weight.TAMPERED, "body", told)
            return
        passed = record.mono - self._mono
        if not (0 <= passed <= self._silence_us and -_SLACK_US <= record.t - self._wall - passed <= _SLACK_US):
            self._time(record)
        self._mono, self._wall = record.mono, record.t
        if kind == "decision":
            self._open[record.number] = None
            if len(self._open) > MOST_OPEN:
                self._give_up(record)
        elif kind == "outcome":
            self._outcome(record, body["decision"])
        elif kind in _PROCESS:
            self._process(record, kind, body)

    def _give_up(self, record: Record) -> None:
        """No gate has so many exchanges under way: whatever wrote this, we do not remember it all."""
        self._say(record, Weight.INCOMPLETE, "open", f"more than {MOST_OPEN} decisions before it have no outcome")
        self._open.clear()
        self._first = record.number + 1  # outcomes of what was forgotten are not held against it

    def _outcome(self, record: Record, decision: int) -> None:
        if decision in self._open:
            del self._open[decision]
        elif decision >= self._first or decision < 0:
            told = f"an outcome of no open decision: {decision!s:.20}"
            self._say(record, Weight.TAMPERED, "orphan", told)
        elif self._earlier is not None:
            self._earlier.append(decision)

    def _process(self, record: Record, kind: str, body: Fields) -> None:
        if kind == "erasure":
            self._erasure(body)
            return
        if kind == "recovery_gap":
            self._say(record, Weight.INCOMPLETE, "gap", _gap(body))
            return
        self._ended, self._silence_us = kind == "stop", _EVER
        if kind == "start":
            self._silence_us = 2 * body["heartbeat_s"] * 1_000_000 + _SLACK_US
            if body["previous"] == "crashed":
                self._say(record, Weight.NOTE, "crash", "the process before this one did not end in order")

    def _erasure(self, body: Fields) -> None:
        kept_from = body.get("kept_from")
        if body["subject"] == "segments" and type(kept_from) is int:
            self._may_begin = max(self._may_begin, kept_from)

    def _time(self, record: Record) -> None:
        """Within one boot both clocks run; while a process runs, silence is never longer than two heartbeats."""
        passed, shown = record.mono - self._mono, record.t - self._wall
        if passed < 0:
            told = "its monotonic time is before that of the record before it"
            self._say(record, Weight.TAMPERED, "time", told)
        elif passed > self._silence_us and record.kind != "key_epoch":
            self._say(record, Weight.INCOMPLETE, "silence", f"{passed // 1_000_000} s of silence before it")
        if abs(shown - passed) > _SLACK_US:
            told = f"before it the wall clock was set by {round((shown - passed) / 1_000_000)} s"
            self._say(record, Weight.NOTE, "clock", told)

    def chapter(self) -> Chapter:
        return Chapter(
            self._open,
            self._earlier or [],
            self._gap_us,
            self._ended,
            self._silence_us,
            self._boot,
            self._mono,
            self._wall,
            self._may_begin,
            self.kinds - Counter(["key_epoch"]),
        )

    def join(self, told: Chapter) -> bool:
        """Go on behind a segment whose first record was seen; False if something of it must be looked at in its place.

        Its times were compared with those of its first record, and each of its outcomes names one decision.
        """
        if told.gap_us > self._silence_us or len(self._open) + told.kinds["decision"] > MOST_OPEN:
            return False
        for decision in told.earlier:
            if decision in self._open:
                del self._open[decision]
            elif decision >= self._first:
                return False
        self._open.update(told.open)
        self.kinds.update(told.kinds)
        self._boot, self._mono, self._wall = told.boot, told.mono, told.wall
        self._may_begin = max(self._may_begin, told.may_begin)
        if told.ended is not None:
            self._ended, self._silence_us = told.ended, told.silence_us
        return True

    def finish(self) -> None:
        """Exchanges under way are open in a running ledger; in one that has stopped, their outcomes are missing."""
        if self._begins > self._may_begin:
            told = f"records 0 to {self._begins - 1} are missing, and no erasure record says that so many were pruned"
            self._add(Finding(Weight.TAMPERED, "missing", told, self._begins))
        weight = Weight.INCOMPLETE if self._ended else Weight.NOTE
        for decision in self._open:
            self._add(Finding(weight, "open", "a decision without an outcome", decision))
        if self._ended is False:
            self._add(
                Finding(Weight.NOTE, "running", "it does not end with a stop: it is being written, or its writer died")
            )

    def _say(self, record: Record, weight: Weight, code: str, message: str) -> None:
        self._add(Finding(weight, code, message, record.number, record.file, record.offset))
