"""What a ledger's directory holds when it is opened: how far it is sound, what is torn, what was left open.

The writer has no key of earlier epochs, so it checks the form, the chain and the tree against the newest checkpoint;
the MACs are the reviewer's to check.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct, field

from router.audit.errors import LedgerError, what_now
from router.audit.format import layout
from router.audit.format.notes import Checkpoint, open_checkpoint
from router.audit.format.record import FIRST_PREV, head, leaf_hash
from router.audit.format.segments import EndlessLineError, SegmentError, list_segments, read_small, segment_lines
from router.audit.format.tiles import HashReader, TileError, TileStack
from router.audit.home import Home, sync_directory, write_new
from router.audit.kinds import Kind

_DAY_US = 86_400_000_000
_EXCHANGE = frozenset({Kind.DECISION, Kind.OUTCOME})


class Body(msgspec.Struct, frozen=True):
    """The fields of a body that recovery looks at."""

    decision: int = -1
    oldest_open: int = -1
    lost_from: int = -1


class Line(msgspec.Struct, frozen=True):
    """A record, as far as recovery looks at it."""

    v: int
    log: str
    epoch: int
    i: int
    prev: str
    t: int
    kind: str
    body: Body


class Segment(Struct):
    """One segment, read to its first bad line; it remembers how it ends, and what may still be open."""

    path: Path
    first: int
    end: int
    good_bytes: int = 0
    day: int = 0  # of its first record, days since 1970
    epoch: int = 0
    prev: bytes | None = None  # the leaf hash of its last record
    kinds: tuple[str, ...] = ()  # of its last two records
    oldest_open: int = -1  # as its newest checkpoint record says; -1 if it has none
    exchanges: list[Line] = field(default_factory=list)  # decisions and outcomes from there on

    def take(self, line: Line, raw: bytes) -> None:
        if self.end == self.first:
            self.day = line.t // _DAY_US
        self.end += 1
        self.good_bytes += len(raw)
        self.epoch, self.prev = line.epoch, leaf_hash(raw[:-1])
        self.kinds = (*self.kinds[-1:], line.kind)
        if line.kind in _EXCHANGE:
            self.exchanges.append(line)
        elif line.kind == Kind.CHECKPOINT:
            self.oldest_open = line.body.oldest_open
            self.exchanges = [kept for kept in self.exchanges if kept.i >= self.oldest_open]


class Found(Struct, frozen=True):
    """A ledger as it was left. `torn` bytes were moved to quarantine: their record is still to be written."""

    tree: TileStack
    epoch: int = 0
    prev: bytes = FIRST_PREV
    segment: Path | None = None
    segment_bytes: int = 0
    day: int = 0
    torn: int = 0
    previous: str = "first"  # or clean, crashed
    orphans: tuple[int, ...] = ()


def recover(home: Home) -> Found:
    """Read the end of the ledger, set torn bytes aside; LedgerError if a record under the newest checkpoint is gone."""
    checkpoint = _newest_checkpoint(home)
    try:
        last = _last_segment(home, checkpoint.size, touch=True)
        end = last.end if last is not None else 0
        torn = _torn_at(home, end)
        tree = _tree(home, checkpoint, end)
        if last is None:
            return Found(tree, torn=torn)
        orphans = tuple(_open_decisions(home, last))
    except (OSError, SegmentError, TileError) as error:
        raise LedgerError(_unreadable(home.directory, error)) from error
    return Found(
        tree=tree,
        epoch=last.epoch,
        prev=last.prev or FIRST_PREV,
        segment=last.path,
        segment_bytes=last.good_bytes,
        day=last.day,
        torn=torn,
        previous="clean" if _ended_clean(last) else "crashed",
        orphans=orphans,
    )


def inspect(home: Home) -> None:
    """LedgerError if recover() would refuse; nothing is touched."""
    checkpoint = _newest_checkpoint(home)
    try:
        last = _last_segment(home, checkpoint.size, touch=False)
        _tree(home, checkpoint, last.end if last is not None else 0)
    except (OSError, SegmentError, TileError) as error:
        raise LedgerError(_unreadable(home.directory, error)) from error


def _unreadable(directory: Path, error: Exception) -> str:
    return f"the ledger in {directory} cannot be read: {error}. {what_now(directory)}"


def _newest_checkpoint(home: Home) -> Checkpoint:
    path = home.path(layout.CHECKPOINT)
    try:
        return open_checkpoint(read_small(path, links=True).decode(), home.signer.verifier)
    except (OSError, ValueError) as error:
        raise LedgerError(
            f"{path} is missing or not signed by this ledger ({error}): nobody can say how long the ledger was. "
            f"{what_now(home.directory)}"
        ) from error


def _too_short(home: Home, end: int, signed: int) -> LedgerError:
    so = ", which another one after them says" if end == signed else ""
    return LedgerError(
        f"the ledger in {home.directory} has {end} records, but {signed} were signed for{so}: it was cut, or record "
        f"{end} was altered. {what_now(home.directory)}"
    )


def _is_short(end: int, signed: int) -> bool:
    """The record of a checkpoint follows those that it covers, and is on the disk before the checkpoint file."""
    return end <= signed if signed else False


def _tree(home: Home, checkpoint: Checkpoint, end: int) -> TileStack:
    """The whole tree, once the part under the checkpoint is found to be what was signed."""
    if _is_short(end, checkpoint.size):
        raise _too_short(home, end, checkpoint.size)
    reader = HashReader(home.directory)
    tree = reader.stack(checkpoint.size)
    if tree.root() != checkpoint.root:
        raise LedgerError(
            f"the first {checkpoint.size} records in {home.directory} are not those that were signed for. "
            f"{what_now(home.directory)}"
        )
    tree.extend(reader.leaves(checkpoint.size, end))
    return tree


def _last_segment(home: Home, signed: int, *, touch: bool) -> Segment | None:
    """The last one that holds a record, with `touch` cut back to its last good line; never below `signed`."""
    for first, path in reversed(list_segments(home.directory)):
        segment = read_segment(home.log, path, first)
        if _is_short(segment.end, signed):
            raise _too_short(home, segment.end, signed)
        if touch:
            _set_aside(home, segment)
        if segment.end > first:
            return segment
        if touch:
            path.unlink()
            sync_directory(path.parent)
    return None


def read_segment(log: str, path: Path, first: int) -> Segment:
    """Read lines until one is not what must stand there."""
    segment = Segment(path, first, first, prev=FIRST_PREV if first == 0 else None)
    for raw in _lines(path):
        line = _parse(raw)
        if line is None or line.i != segment.end or line.epoch < segment.epoch:
            break
        prev = segment.prev if segment.prev is not None else _hex(line.prev)
        if not raw.startswith(head(log, line.epoch, line.i, prev)):
            break
        segment.take(line, raw)
    return segment


def _lines(path: Path) -> Iterator[bytes]:
    """The lines up to one that cannot be a record's: after a loss of power a file may end in pages of zeros."""
    with contextlib.suppress(EndlessLineError):
        yield from segment_lines(path)


def _parse(raw: bytes) -> Line | None:
    if not raw.endswith(b'"}\n'):
        return None
    try:
        return msgspec.json.decode(raw, type=Line)
    except msgspec.MsgspecError:
        return None


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _set_aside(home: Home, segment: Segment) -> None:
    """Copy what follows the last good line to quarantine, durably; only then cut it off."""
    with segment.path.open("rb") as file:
        file.seek(segment.good_bytes)
        data = file.read()
    if data:
        directory = home.path(layout.QUARANTINE)
        directory.mkdir(mode=0o700, exist_ok=True)
        write_new(directory / layout.torn_name(segment.end, len(data)), data)
        descriptor = os.open(segment.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, segment.good_bytes)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _torn_at(home: Home, end: int) -> int:
    """Bytes set aside at the very end of the ledger. Once their record is written, the end lies behind it; so bytes
    that an earlier start set aside, and died before it could say so, are told by this one.
    """
    directory = home.path(layout.QUARANTINE)
    if not directory.is_dir():
        return 0
    return sum(path.stat().st_size for path in directory.glob(layout.torn_name(end, "*")))


def _ended_clean(last: Segment) -> bool:
    return last.kinds == (Kind.STOP, Kind.CHECKPOINT) or last.kinds[-1] == Kind.STOP


def _open_decisions(home: Home, last: Segment) -> Iterator[int]:
    """Decisions without an outcome. The newest checkpoint record says how far back one can lie."""
    exchanges, oldest, reached = last.exchanges, last.oldest_open, last.first
    earlier = [entry for entry in list_segments(home.directory) if entry[0] < last.first]
    while earlier and not 0 <= reached <= oldest:
        reached, path = earlier.pop()
        segment = read_segment(home.log, path, reached)
        exchanges = segment.exchanges + exchanges
        oldest = oldest if oldest >= 0 else segment.oldest_open
    found: dict[int, None] = {}
    for line in exchanges:
        if line.kind == Kind.DECISION and line.i >= oldest:
            found[line.i] = None
        else:
            found.pop(line.body.decision, None)
    yield from found
