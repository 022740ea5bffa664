"""Records for people: verified first, then filtered, so that no view hides a missing one (CVE-2023-31437)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from router.audit.codec import CODEC
from router.audit.format.segments import list_segments, open_segment, read_lines, segment_lines
from router.audit.kinds import Kind
from router.audit.verify.batch import Record
from router.audit.verify.check import each, verify
from router.audit.verify.findings import CannotVerifyError, Report
from router.audit.verify.keys import Keys
from router.audit.verify.lines import Fields, parse_line

_LAST_US: Final = 253_402_300_800_000_000  # the year 10000 begins
_DIGEST: Final = 32  # hexadecimal digits from which on nobody reads them
_MOST_LISTED: Final = 4
_MOST_TEXT: Final = 96
_IN_MEMORY: Final = 16 * 1024 * 1024


def parse_kind(text: str | None) -> str | None:
    """A kind that records have: of a mistyped one there is none, which would read as an answer."""
    if text is None or text in set(Kind):
        return text
    raise CannotVerifyError(f"no record is of the kind {text!r}: use {', '.join(Kind)}")


def parse_time(text: str | None) -> int | None:
    """Microseconds since 1970 of an ISO 8601 time; UTC unless it says otherwise."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CannotVerifyError(f"{text!r} is not an ISO 8601 time, such as 2026-11-21T14:00") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000)


@dataclass(slots=True)
class Filter:
    """Which records to show. An outcome belongs to its decision: it is shown when the decision is."""

    kind: str | None = None
    body: dict[str, str] = field(default_factory=dict)
    reason: str | None = None
    since_us: int | None = None
    until_us: int | None = None
    _open: set[int] = field(default_factory=set)

    def wants(self, record: Record) -> bool:
        kind, body = record.kind, record.body
        outcome_of = body.get("decision") if kind == "outcome" else None
        about = outcome_of in self._open or self._matches(body)
        if kind == "decision" and about:
            self._open.add(record.number)
        if outcome_of is not None:
            self._open.discard(outcome_of)
        return about and self._kind_and_time(kind, record.t) and self._reason(body)

    def _matches(self, body: Fields) -> bool:
        return all(body.get(name) == value for name, value in self.body.items())

    def _kind_and_time(self, kind: str, t_us: int) -> bool:
        return (
            self.kind in (None, kind)
            and (self.since_us is None or t_us >= self.since_us)
            and (self.until_us is None or t_us < self.until_us)
        )

    def _reason(self, body: Fields) -> bool:
        return self.reason is None or self.reason in (body.get("reason"), body.get("ending"))


def moment_text(t_us: int) -> str:
    """In UTC; a number beyond the calendar as it is."""
    if not 0 <= t_us < _LAST_US:
        return str(t_us)
    return datetime.fromtimestamp(t_us / 1_000_000, UTC).isoformat(sep=" ", timespec="milliseconds")[:-6]


def line_text(number: int, t_us: int, kind: str, body: Fields) -> str:
    """One record on one line."""
    told = " ".join(f"{name}={_value(value)}" for name, value in body.items())
    return f"{number:>8}  {moment_text(t_us)}  {kind:<12} {told}"


def _value(value: Any) -> str:
    """For the eye: digests are cut, long lists counted. `--json` has them whole."""
    if isinstance(value, list):
        return ",".join(map(_value, value)) or "none" if len(value) <= _MOST_LISTED else f"({len(value)})"
    text = str(value)
    if len(text) >= _DIGEST and not text.strip("0123456789abcdef"):
        return f"{text[:12]}…"
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"


def verified_lines(directory: Path, keys: Keys, render: Callable[[Record], str | None]) -> tuple[Report, Iterator[str]]:
    """The verification's report, and what `render` makes of the records: nothing if the ledger was tampered with."""
    spool = tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8")  # noqa: SIM115 - closed by _drain

    def keep(record: Record) -> None:
        line = render(record)
        if line is not None:
            spool.write(line + "\n")

    report = verify(directory, keys, CODEC, each(keep))
    if report.exit_code() == 1:
        spool.truncate(0)
    return report, _drain(spool)


def show_records(directory: Path, keys: Keys, chosen: Filter, *, as_json: bool) -> tuple[Report, Iterator[str]]:
    """The records that were wanted, as their own lines or for people."""

    def render(record: Record) -> str | None:
        if not chosen.wants(record):
            return None
        told = (record.number, record.t, record.kind, record.body)
        return record.line.decode() if as_json else line_text(*told)

    return verified_lines(directory, keys, render)


def _drain(spool: tempfile.SpooledTemporaryFile[str]) -> Iterator[str]:
    with spool:
        spool.seek(0)
        for line in spool:
            yield line.rstrip("\n")


class Tail:
    """The newest records as they lie there, unverified; again() gives what came since."""

    def __init__(self, directory: Path, count: int) -> None:
        self._directory = directory
        self._count = count
        self._path: Path | None = None
        self._offset = 0

    def first(self) -> list[str]:
        segments = list_segments(self._directory)
        if not segments:
            return []
        self._path = segments[-1][1]
        lines = [line for line in segment_lines(self._path) if line.endswith(b"\n")]
        self._offset = sum(map(len, lines))
        return [_plain(line) for line in lines[-self._count :]]

    def again(self) -> list[str]:
        """What was written since; goes on to the next segment when there is one."""
        if self._path is None:
            return self.first()
        newer = [path for _, path in list_segments(self._directory) if path.name > self._path.name]
        found = self._since(self._path)
        for path in newer:
            self._path, self._offset = path, 0
            found += self._since(path)
        return found

    def _since(self, path: Path) -> list[str]:
        with os.fdopen(open_segment(path), "rb") as file:
            file.seek(self._offset)
            lines = [line for line in read_lines(file.fileno()) if line.endswith(b"\n")]
        self._offset += sum(map(len, lines))
        return [_plain(line) for line in lines]


def _plain(line: bytes) -> str:
    try:
        row = parse_line(line.rstrip(b"\n"))
    except (ValueError, RecursionError):
        return "(not a record)"
    return line_text(row.i, row.t, row.kind, row.body)
