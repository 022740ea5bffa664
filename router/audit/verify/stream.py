"""The records of a ledger as they lie in its segments, each checked against the place where it stands.

After a finding the reader takes the next line at its word and goes on, so that one altered record makes no flood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Final, TypeAlias

from router.audit.format.record import (
    FIRST_PREV,
    MAC_DIGITS,
    MOST_LINE_BYTES,
    TAIL_BYTES,
    head,
    heads,
    leaf_hash,
    leaf_hashes,
    tails_of,
)
from router.audit.format.segments import SegmentError, list_segments, segment_blocks
from router.audit.verify.batch import Batch, Record
from router.audit.verify.findings import Finding, Weight
from router.audit.verify.lines import Codec, Columns, Row, ends_of, parse_line

Add: TypeAlias = Callable[[Finding], None]
KEY_EPOCH: Final = "key_epoch"  # the kind with which a segment begins, and an epoch


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
        self._opening = False  # the first record of a segment is still to come
        self._file = ""
        self._offset = 0

    def start_at(self, index: int, prev: bytes) -> None:
        """Begin behind pruned records: `prev` is the leaf hash of the last of them. Any epoch may begin there."""
        self.index, self.prev, self._pruned = index, prev, True

    def skip(self, index: int, epoch: int, prev: bytes, size: int) -> None:
        """A segment of `size` bytes was read by somebody else; the record that is due now, and what it follows."""
        self.index, self.epoch, self.prev, self._pruned = index, epoch, prev, False
        self.segments += 1
        self.bytes += size

    def batches(self) -> Iterator[Batch]:
        for first, path in list_segments(self._directory):
            yield from self.segment(first, path)

    def segment(self, first: int, path: Path) -> Iterator[Batch]:
        """Of one segment, which is due."""
        self._enter(first, path)
        try:
            for lines, ending in segment_blocks(path):
                whole = self._read_whole(lines) if ending else None
                yield from self._read_each(lines, ending) if whole is None else (whole,)
        except (OSError, SegmentError) as error:
            self._say(Weight.TAMPERED, "unreadable", f"{path.name} cannot be read on: {error}")

    def _read_whole(self, lines: list[bytes]) -> Batch | None:
        """The common case, some hundred lines at once; None if anything about any of them is not as usual."""
        first, prev, last = self.index, self.prev, self.index + len(lines) - 1
        if self._opening or prev is None or len(str(first)) != len(str(last)) or max(map(len, lines)) > MOST_LINE_BYTES:
            return None
        leaves = leaf_hashes(lines)
        due = heads(self._log, self.epoch, first, [prev, *leaves[:-1]])
        size = len(due) // len(lines)  # of each head: their numbers have as many digits
        if b"".join(map(itemgetter(slice(size)), lines)) != due:
            return None
        try:
            ends = tails_of(lines)
            columns = self._codec.columns([*map(itemgetter(slice(size, -TAIL_BYTES)), lines)])
        except (ValueError, RecursionError):
            return None
        if KEY_EPOCH in columns.kinds:
            return None
        batch = Batch(first, self.epoch, prev, leaves, lines, ends, columns, self._file, self._offset)
        self.index, self.prev = last + 1, leaves[-1]
        self._pass(sum(map(len, lines)) + len(lines))
        return batch

    def _read_each(self, lines: list[bytes], ending: bytes) -> Iterator[Batch]:
        for line in lines:
            record = self._read(line + ending)
            if record is not None:
                number, epoch, prev, leaf, _, t, mono, kind, body, file, offset = record
                columns = Columns([t], [mono], [kind], [body], ends_of([kind], [body]))
                yield Batch(number, epoch, prev, [leaf], [line], line[-TAIL_BYTES:], columns, file, offset)
            self._pass(len(line) + len(ending))

    def _pass(self, count: int) -> None:
        self._offset += count
        self.bytes += count

    def _enter(self, first: int, path: Path) -> None:
        self.segments += 1
        self._file, self._offset, self._opening = path.name, 0, True
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
            if row is not None and row.kind == KEY_EPOCH:
                self._say(Weight.TAMPERED, "epoch", f"a new key, but still epoch {self.epoch}", self.index)
            return self._accept(line, self.prev, row)
        if row is None:
            self._no_record(raw)
            return None
        return self._read_unexpected(line, row)

    def _row(self, line: bytes) -> Row | None:
        """The line's members, if it has the one spelling that it may have; None otherwise."""
        try:
            row = parse_line(line)
        except (ValueError, RecursionError):
            return None
        return row if len(row.mac) == MAC_DIGITS and len(line) <= MOST_LINE_BYTES else None

    def _accept(self, line: bytes, prev: bytes, row: Row | None) -> Record:
        index, leaf = self.index, leaf_hash(line)
        self.index, self.prev = index + 1, leaf
        if row is None:
            self._say(Weight.TAMPERED, "form", "the line is not a record in its one spelling: it was altered", index)
            row = Row(1, self._log, self.epoch, index, prev.hex(), 0, 0, "", {}, "")
        elif self._opening and row.kind != KEY_EPOCH:
            self._say(Weight.TAMPERED, "segment", "the segment does not begin with a key: it was cut anew", index)
        self._opening = False
        told = (row.t, row.mono, row.kind, row.body)
        return Record(index, self.epoch, prev, leaf, line, *told, self._file, self._offset)

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
        begins = row.kind == KEY_EPOCH and (epoch == due or self._pruned)
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
