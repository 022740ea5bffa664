"""The records of a ledger as they lie in its segments, each checked against the place where it stands.

After a finding the reader takes the next line at its word and goes on, so that one altered record makes no flood.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from router.audit.format.record import FIRST_PREV, MAC_BYTES, head, leaf_hash
from router.audit.format.segments import SegmentError, list_segments, segment_lines
from router.audit.verify.findings import Finding, Weight

Fields: TypeAlias = dict[str, Any]
Add: TypeAlias = Callable[[Finding], None]
_REST = ("t", "mono", "kind", "body", "mac")
_TYPES = (int, int, str, dict, str)
_MAC_DIGITS = 2 * MAC_BYTES
_ALL = ("v", "log", "epoch", "i", "prev", *_REST)


class Codec(NamedTuple):
    """How JSON is read, and written again to see that it has its one spelling. The CLI brings a faster one."""

    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]


def _encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _decode(data: bytes) -> Any:
    return json.loads(data.decode())


STANDARD = Codec(_decode, _encode)


class Record(NamedTuple):
    """One line that stands where it should, or near enough to go on."""

    number: int  # its index
    epoch: int
    prev: bytes
    leaf: bytes
    line: bytes  # without its line feed
    fields: Fields
    file: str
    offset: int

    @property
    def mac(self) -> str:
        return self.line[-2 * MAC_BYTES - 2 : -2].decode(errors="replace")


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

    def records(self) -> Iterator[Record]:
        for first, path in list_segments(self._directory):
            self._enter(first, path)
            try:
                for raw in segment_lines(path):
                    record = self._read(raw)
                    self._offset += len(raw)
                    self.bytes += len(raw)
                    if record is not None:
                        yield record
            except (OSError, SegmentError) as error:
                self._say(Weight.TAMPERED, "unreadable", f"{path.name} cannot be read on: {error}")

    def _enter(self, first: int, path: Path) -> None:
        self.segments += 1
        self._file, self._offset = path.name, 0
        if first != self.index:
            self._say(Weight.TAMPERED, "segment", f"the segment begins at record {first}, but {self.index} is due")

    def _say(self, weight: Weight, code: str, message: str, record: int | None = None) -> None:
        self._add(Finding(weight, code, message, record, self._file, self._offset))

    def _read(self, raw: bytes) -> Record | None:
        """One line. The common case is one comparison of bytes and one decoding."""
        if not raw.endswith(b'"}\n'):
            self._no_record(raw)
            return None
        line = raw[:-1]
        prev = self.prev if self.prev is not None else b""
        start = head(self._log, self.epoch, self.index, prev)
        if not line.startswith(start):
            return self._read_unexpected(raw)
        fields = self._rest(b"{" + line[len(start) :], _REST)
        return self._accept(line, prev, fields)

    def _accept(self, line: bytes, prev: bytes, fields: Fields | None) -> Record | None:
        index, leaf = self.index, leaf_hash(line)
        self.index, self.prev = index + 1, leaf
        if fields is None:
            self._say(Weight.TAMPERED, "form", "the line is not a record in its one spelling: it was altered", index)
            fields = {"t": 0, "mono": 0, "kind": "", "body": {}, "mac": ""}
        return Record(index, self.epoch, prev, leaf, line, fields, self._file, self._offset)

    def _rest(self, data: bytes, names: tuple[str, ...]) -> Fields | None:
        """The fields in order, if this is their one spelling; None otherwise."""
        try:
            fields = self._codec.decode(data)
            if type(fields) is not dict or tuple(fields) != names or self._codec.encode(fields) != data:
                return None
        except (ValueError, RecursionError):
            return None
        typed = tuple(map(type, fields.values()))[-5:] == _TYPES
        return fields if typed and len(fields["mac"]) == _MAC_DIGITS else None

    def _read_unexpected(self, raw: bytes) -> Record | None:
        """The head is not what is due: an epoch begins, or somebody was here."""
        line = raw[:-1]
        fields = self._rest(line, _ALL)
        if fields is None or type(fields["i"]) is not int or type(fields["epoch"]) is not int:
            self._no_record(raw)
            return None
        if fields["log"] != self._log or fields["v"] != 1:
            self._say(Weight.TAMPERED, "foreign", f"the line belongs to log {fields['log']!s:.40}", fields["i"])
            return None
        if not self._place(fields):
            return None
        prev = _hex(fields["prev"])
        if self.prev is not None and prev != self.prev:
            before = self.index - 1
            told = f"it does not follow record {before}: record {before} was altered, or this one's link"
            self._say(Weight.TAMPERED, "chain", told, self.index)
        self._turn_epoch(fields)
        return self._accept(line, prev, fields)

    def _place(self, fields: Fields) -> bool:
        """Whether the line may stand here; a gap is told and jumped, a step back is told and ignored."""
        index = int(fields["i"])
        if self.prev is not None and index != self.index and _hex(fields["prev"]) == self.prev:
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

    def _turn_epoch(self, fields: Fields) -> None:
        epoch, due = int(fields["epoch"]), self.epoch + 1
        begins = fields["kind"] == "key_epoch" and (epoch == due or self._pruned)
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
