"""Records as the checks see them: one, or some hundred that follow each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from router.audit.format.record import mac_of
from router.audit.verify.lines import Columns, Fields


class Record(NamedTuple):
    """One line that stands where it should, or near enough to go on."""

    number: int  # its index
    epoch: int
    prev: bytes
    leaf: bytes
    line: bytes  # without its line feed
    t: int
    mono: int
    kind: str
    body: Fields
    file: str
    offset: int

    @property
    def log(self) -> str:
        """The log's id, as the line's head tells it."""
        return self.line.split(b'"', 6)[5].decode()

    @property
    def mac(self) -> str:
        return mac_of(self.line).decode(errors="replace")


class Batch(NamedTuple):
    """Records of one epoch that follow each other in one file. A key epoch's first record comes alone."""

    first: int  # the index of the first
    epoch: int
    prev: bytes  # of the first
    leaves: Sequence[bytes]
    lines: Sequence[bytes]
    tails: bytes  # the ends of the lines, with their MACs, one behind the other
    columns: Columns
    file: str
    offset: int

    def record(self, at: int) -> Record:
        columns = self.columns
        return Record(
            self.first + at,
            self.epoch,
            self.leaves[at - 1] if at else self.prev,
            self.leaves[at],
            self.lines[at],
            columns.times[at],
            columns.monos[at],
            columns.kinds[at],
            columns.bodies[at],
            self.file,
            self.offset + at + sum(map(len, self.lines[:at])),
        )

    def records(self) -> Iterator[Record]:
        number, prev, offset = self.first, self.prev, self.offset
        epoch, file, (times, monos, kinds, bodies, *_) = self.epoch, self.file, self.columns
        for leaf, line, t, mono, kind, body in zip(self.leaves, self.lines, times, monos, kinds, bodies, strict=True):
            yield Record(number, epoch, prev, leaf, line, t, mono, kind, body, file, offset)
            number, prev, offset = number + 1, leaf, offset + len(line) + 1
