"""The records of a ledger as they lie in its segments, each checked against the place where it stands.

After a finding the reader takes the next line at its word and goes on, so that one altered record makes no flood.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from router.audit.format.record import FIRST_PREV, MAC_BYTES, MOST_LINE_BYTES, head, leaf_hash, leaf_hashes
from router.audit.format.segments import SegmentError, list_segments, segment_blocks
from router.audit.verify.findings import Finding, Weight

Fields: TypeAlias = dict[str, Any]
Add: TypeAlias = Callable[[Finding], None]
_MAC_DIGITS = 2 * MAC_BYTES


class Row(Protocol):
    """The members of a record, as parsed."""

    @property
    def v(self) -> int: ...
    @property
    def log(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def i(self) -> int: ...
    @property
    def prev(self) -> str: ...
    @property
    def t(self) -> int: ...
    @property
    def mono(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def body(self) -> Fields: ...
    @property
    def mac(self) -> str: ...


class PlainRow(NamedTuple):
    """A row as the standard library gives it."""

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


_TYPES = (int, str, int, int, str, int, int, str, dict, str)
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


class Codec(NamedTuple):
    """How lines are parsed; the CLI brings a faster one. `rows` gives one row for each line, if every line has the one
    spelling that the format allows: written again, it gives the same bytes. ValueError, RecursionError: one has not.
    """

    rows: Callable[[Sequence[bytes]], Sequence[Row]]


def _rows(lines: Sequence[bytes]) -> list[Row]:
    return [_row(line) for line in lines]


def _row(line: bytes) -> Row:
    fields = json.loads(line.decode())
    if type(fields) is not dict or tuple(fields) != PlainRow._fields or _ENCODER.encode(fields).encode() != line:
        raise ValueError("not in its one spelling")
    row = PlainRow(*fields.values())
    if tuple(map(type, row)) != _TYPES:
        raise ValueError("a member of another type")
    return row


STANDARD = Codec(_rows)


class Record(NamedTuple):
    """One line that stands where it should, or near enough to go on."""

    number: int  # its index
    epoch: int
    prev: bytes
    leaf: bytes
    line: bytes  # without its line feed
    row: Row
    file: str
    offset: int

    @property
    def mac(self) -> str:
        return self.line[-_MAC_DIGITS - 2 : -2].decode(errors="replace")


class Batch(NamedTuple):
    """Records of one epoch that follow each other in one file. A key epoch's first record comes alone."""

    first: int  # the index of the first
    epoch: int
    prev: bytes  # of the first
    leaves: list[bytes]
    lines: list[bytes]
    rows: Sequence[Row]
    kinds: list[str]
    file: str
    offset: int

    def record(self, at: int) -> Record:
        prev = self.leaves[at - 1] if at else self.prev
        offset = self.offset + at + sum(map(len, self.lines[:at]))
        leaf, line, row = self.leaves[at], self.lines[at], self.rows[at]
        return Record(self.first + at, self.epoch, prev, leaf, line, row, self.file, offset)

    def records(self) -> Iterator[Record]:
        number, prev, offset = self.first, self.prev, self.offset
        for leaf, line, row in zip(self.leaves, self.lines, self.rows, strict=True):
            yield Record(number, self.epoch, prev, leaf, line, row, self.file, offset)
            number, prev, offset = number + 1, leaf, offset + len(line) + 1


class Stream:
    """Reads one ledger's lines in order. What it remembers is where it stands."""

    def __init__(self, directory: Path, log: str, codec: Codec, add: Add) -> None:
        self._directory = directory
        self._log = log
        self._codec = codec
        self._add = add
        self.index = 0  # of the record that is due
        self.epoch = 0
        self.prev: bytes | None = FIRST_PREV
        self.segments = 0
        self.bytes = 0
        self._pruned = False  # and the first record of what is left is still to come
        self._file = ""
        self._offset = 0

    def start_at(self, index: int, prev: bytes) -> None:
        """Begin behind pruned records: `prev` is the leaf hash of the last of them. Any epoch may begin there."""
        self.index, self.prev, self._pruned = index, prev, True

    def batches(self) -> Iterator[Batch]:
        for first, path in list_segments(self._directory):
            self._enter(first, path)
            try:
                for lines, ending in segment_blocks(path):
                    whole = self._read_whole(lines) if ending else None
                    yield from self._read_each(lines, ending) if whole is None else (whole,)
            except (OSError, SegmentError) as error:
                self._say(Weight.TAMPERED, "unreadable", f"{path.name} cannot be read on: {error}")

    def _read_whole(self, lines: list[bytes]) -> Batch | None:
        """The common case, some hundred lines at once; None if anything about any of them is not as usual."""
        if self.prev is None or max(map(len, lines)) > MOST_LINE_BYTES:
            return None
        try:
            rows = self._codec.rows(lines)
        except (ValueError, RecursionError):
            return None
        first, prev, end = self.index, self.prev, self.index + len(lines)
        leaves, kinds = leaf_hashes(lines), [row.kind for row in rows]
        start = head(self._log, self.epoch, 0, b"").partition(b'"i":')[0]
        links = [prev.hex(), *[leaf.hex() for leaf in leaves[:-1]]]
        usual = (
            "key_epoch" not in kinds
            and [row.i for row in rows] == list(range(first, end))
            and [row.prev for row in rows] == links
            and not [line for line in lines if not line.startswith(start)]
            and {len(row.mac) for row in rows} == {_MAC_DIGITS}
        )
        if not usual:
            return None
        batch = Batch(first, self.epoch, prev, leaves, lines, rows, kinds, self._file, self._offset)
        self.index, self.prev = end, leaves[-1]
        self._pass(sum(map(len, lines)) + len(lines))
        return batch

    def _read_each(self, lines: list[bytes], ending: bytes) -> Iterator[Batch]:
        for line in lines:
            record = self._read(line + ending)
            if record is not None:
                number, epoch, prev, leaf, _, row, file, offset = record
                yield Batch(number, epoch, prev, [leaf], [line], [row], [row.kind], file, offset)
            self._pass(len(line) + len(ending))

    def _pass(self, count: int) -> None:
        self._offset += count
        self.bytes += count

    def _enter(self, first: int, path: Path) -> None:
        self.segments += 1
        self._file, self._offset = path.name, 0
        if first != self.index:
            self._say(Weight.TAMPERED, "segment", f"the segment begins at record {first}, but {self.index} is due")

    def _say(self, weight: Weight, code: str, message: str, record: int | None = None) -> None:
        self._add(Finding(weight, code, message, record, self._file, self._offset))

    def _read(self, raw: bytes) -> Record | None:
        """One line, with its line feed."""
        if not raw.endswith(b'"}\n'):
            self._no_record(raw)
            return None
        line = raw[:-1]
        row = self._row(line)
        if self.prev is not None and line.startswith(head(self._log, self.epoch, self.index, self.prev)):
            return self._accept(line, self.prev, row)
        if row is None:
            self._no_record(raw)
            return None
        return self._read_unexpected(line, row)

    def _row(self, line: bytes) -> Row | None:
        """The line's members, if it has the one spelling that it may have; None otherwise."""
        try:
            row = self._codec.rows([line])[0]
        except (ValueError, RecursionError):
            return None
        return row if len(row.mac) == _MAC_DIGITS and len(line) <= MOST_LINE_BYTES else None

    def _accept(self, line: bytes, prev: bytes, row: Row | None) -> Record:
        index, leaf = self.index, leaf_hash(line)
        self.index, self.prev = index + 1, leaf
        if row is None:
            self._say(Weight.TAMPERED, "form", "the line is not a record in its one spelling: it was altered", index)
            row = PlainRow(1, self._log, self.epoch, index, prev.hex(), 0, 0, "", {}, "")
        return Record(index, self.epoch, prev, leaf, line, row, self._file, self._offset)

    def _read_unexpected(self, line: bytes, row: Row) -> Record | None:
        """The head is not what is due: an epoch begins, or somebody was here."""
        if row.log != self._log or row.v != 1:
            self._say(Weight.TAMPERED, "foreign", f"the line belongs to log {row.log!s:.40}", row.i)
            return None
        if not self._place(row):
            return None
        prev = _hex(row.prev)
        if self.prev is not None and prev != self.prev:
            before = self.index - 1
            told = f"it does not follow record {before}: record {before} was altered, or this one's link"
            self._say(Weight.TAMPERED, "chain", told, self.index)
        self._turn_epoch(row)
        return self._accept(line, prev, row)

    def _place(self, row: Row) -> bool:
        """Whether the line may stand here; a gap is told and jumped, a step back is told and ignored."""
        index = row.i
        if self.prev is not None and index != self.index and _hex(row.prev) == self.prev:
            self._say(
                Weight.TAMPERED, "index", f"it calls itself record {index!s:.20}: its index was altered", self.index
            )
            return True
        if index < self.index:
            self._say(Weight.TAMPERED, "order", f"it stands where {self.index} is due: moved or doubled", index)
            return False
        if index > self.index:
            last = index - 1
            self._say(Weight.TAMPERED, "missing", f"records {self.index} to {last} are missing before it", index)
            self.index, self.prev = index, None
        return True

    def _turn_epoch(self, row: Row) -> None:
        epoch, due = row.epoch, self.epoch + 1
        begins = row.kind == "key_epoch" and (epoch == due or self._pruned)
        if epoch != self.epoch and not begins and self.prev is not None:
            self._say(Weight.TAMPERED, "epoch", f"epoch {epoch} follows {self.epoch} without its key", self.index)
        self.epoch, self._pruned = epoch, False

    def _no_record(self, raw: bytes) -> None:
        """Told and passed over: if it stands in a record's place, that record will be missing."""
        if raw.endswith(b"\n"):
            self._say(Weight.TAMPERED, "form", "where it should stand is a line that is no record", self.index)
        else:
            self._say(Weight.INCOMPLETE, "torn", f"the last {len(raw)} bytes are no whole record", self.index)


def _hex(value: object) -> bytes:
    try:
        return bytes.fromhex(str(value))
    except ValueError:
        return b""
