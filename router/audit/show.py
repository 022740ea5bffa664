"""Records for people: verified first, then filtered, so that no view hides a missing one (CVE-2023-31437)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from router.audit.format.segments import list_segments, read_lines, segment_lines
from router.audit.verify.check import verify
from router.audit.verify.findings import CannotVerifyError, Report
from router.audit.verify.keys import Keys
from router.audit.verify.stream import Codec, Fields, Record, Row

_LAST_US: Final = 253_402_300_800_000_000  # the year 10000 begins
_IN_MEMORY: Final = 16 * 1024 * 1024


class FastRow(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A row as msgspec gives it."""

    v: int
    log: str
    epoch: int
    i: int
    prev: str
    t: int
    mono: int
    kind: str
    body: Fields
    mac: str


_decode_lines: Final = msgspec.json.Decoder(FastRow).decode_lines
_encode_lines: Final = msgspec.json.Encoder().encode_lines


def _rows(lines: Sequence[bytes]) -> Sequence[FastRow]:
    """All at once: written again with a line feed after each, they give the same bytes only if each line is one row."""
    data = b"\n".join(lines) + b"\n"
    rows = _decode_lines(data)
    if len(rows) != len(lines) or _encode_lines(rows) != data:
        raise ValueError("a line is not in its one spelling")
    return rows


CODEC: Final = Codec(_rows)


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
        row, body = record.row, record.row.body
        outcome_of = body.get("decision") if row.kind == "outcome" else None
        about = outcome_of in self._open or self._matches(body)
        if row.kind == "decision" and about:
            self._open.add(record.number)
        if outcome_of is not None:
            self._open.discard(outcome_of)
        return about and self._kind_and_time(row) and self._reason(body)

    def _matches(self, body: Fields) -> bool:
        return all(body.get(name) == value for name, value in self.body.items())

    def _kind_and_time(self, row: Row) -> bool:
        return (
            self.kind in (None, row.kind)
            and (self.since_us is None or row.t >= self.since_us)
            and (self.until_us is None or row.t < self.until_us)
        )

    def _reason(self, body: Fields) -> bool:
        return self.reason is None or self.reason in (body.get("reason"), body.get("ending"))


def moment_text(t_us: int) -> str:
    """In UTC; a number beyond the calendar as it is."""
    if not 0 <= t_us < _LAST_US:
        return str(t_us)
    return datetime.fromtimestamp(t_us / 1_000_000, UTC).isoformat(sep=" ", timespec="milliseconds")[:-6]


def line_text(row: Row) -> str:
    """One record on one line."""
    told = " ".join(f"{name}={_value(value)}" for name, value in row.body.items())
    return f"{row.i:>8}  {moment_text(row.t)}  {row.kind:<12} {told}"


def _value(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 64 else f"{text[:24]}…"


def verified_lines(directory: Path, keys: Keys, render: Callable[[Record], str | None]) -> tuple[Report, Iterator[str]]:
    """The verification's report, and what `render` makes of the records: nothing if the ledger was tampered with."""
    spool = tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8")  # noqa: SIM115 - closed by _drain

    def keep(record: Record) -> None:
        line = render(record)
        if line is not None:
            spool.write(line + "\n")

    report = verify(directory, keys, CODEC, keep)
    if report.exit_code() == 1:
        spool.truncate(0)
    return report, _drain(spool)


def show_records(directory: Path, keys: Keys, chosen: Filter, *, as_json: bool) -> tuple[Report, Iterator[str]]:
    """The records that were wanted, as their own lines or for people."""

    def render(record: Record) -> str | None:
        if not chosen.wants(record):
            return None
        return record.line.decode() if as_json else line_text(record.row)

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
        with path.open("rb") as file:
            file.seek(self._offset)
            lines = [line for line in read_lines(file.fileno()) if line.endswith(b"\n")]
        self._offset += sum(map(len, lines))
        return [_plain(line) for line in lines]


def _plain(line: bytes) -> str:
    try:
        return line_text(CODEC.rows([line.rstrip(b"\n")])[0])
    except ValueError:
        return "(not a record)"
