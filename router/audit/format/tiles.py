"""Hashes on the disk, as C2SP tlog-tiles lays them out: 256 hashes to a tile, the levels eight tree levels apart.

Tiles can be made again from the segments as long as the segments are there; after pruning they stand in for them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from router.audit.format import layout
from router.audit.format.record import leaf_hash
from router.audit.format.segments import list_segments, read_small, segment_lines
from router.audit.format.tree import complete_root, fold, node_hash, pair

WIDTH: Final = layout.TILE_WIDTH
HASH: Final = 32


class TileError(ValueError):
    """Neither a tile nor a segment gives a hash that is needed."""


def split(data: bytes) -> list[bytes]:
    return [data[at : at + HASH] for at in range(0, len(data), HASH)]


def peaks_of(hashes: Sequence[bytes]) -> list[bytes]:
    """The roots of the complete subtrees over fewer than 512 hashes, largest first."""
    found, at = [], 0
    for width in (256, 128, 64, 32, 16, 8, 4, 2, 1):
        if len(hashes) & width:
            found.append(complete_root(hashes[at : at + width]))
            at += width
    return found


class TileStack:
    """The growing tree: the unfinished tile of each level, and the roots of the complete subtrees that wait for their
    right neighbours. So each leaf costs one node hash, and the root a few more. Finished tiles wait in `full`.
    """

    __slots__ = ("_levels", "_waiting", "full", "size")

    def __init__(self, size: int = 0, levels: Sequence[Sequence[bytes]] = ()) -> None:
        self.size = size
        self._levels = [list(level) for level in levels] or [[]]
        self._waiting: list[bytes | None] = []  # by height
        for level in self._levels:
            peaks = peaks_of(level)
            self._waiting += [peaks.pop() if len(level) >> bit & 1 else None for bit in range(8)]
        self.full: list[tuple[int, int, bytes]] = []  # level, number, hashes

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaves in order."""
        nodes, height = list(leaves), 0
        self.size += len(nodes)
        while nodes:
            if height % 8 == 0:
                self._keep(height // 8, nodes)
            if height == len(self._waiting):
                self._waiting.append(None)
            if (before := self._waiting[height]) is not None:
                nodes = [before, *nodes]
            self._waiting[height] = nodes.pop() if len(nodes) & 1 else None
            nodes = pair(nodes)
            height += 1

    def _keep(self, level: int, nodes: Sequence[bytes]) -> None:
        """Put nodes of a tile level into their tiles."""
        if level == len(self._levels):
            self._levels.append([])
        hashes = self._levels[level]
        hashes += nodes
        while len(hashes) >= WIDTH:
            number = ((self.size >> (8 * level)) - len(hashes)) // WIDTH
            self.full.append((level, number, b"".join(hashes[:WIDTH])))
            del hashes[:WIDTH]

    def root(self) -> bytes:
        return fold([node for node in reversed(self._waiting) if node is not None])


class HashReader:
    """Leaf and node hashes of a ledger's directory, from tiles where there are tiles, else from segments."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def leaves(self, low: int, high: int) -> list[bytes]:
        """The leaf hashes of records low … high - 1; TileError if one is nowhere."""
        found: list[bytes] = []
        for number in range(low // WIDTH, -(-high // WIDTH)):
            start = number * WIDTH
            hashes = self._tile(0, number, min(WIDTH, high - start))
            found += hashes[max(low - start, 0) :]
        return found

    def node(self, level: int, number: int) -> bytes:
        """The root of the full tile `number` of `level`."""
        return complete_root(self._tile(level, number, WIDTH))

    def stack(self, size: int) -> TileStack:
        """The tree over the first `size` records."""
        levels = [self.leaves(size // WIDTH * WIDTH, size)]
        level = 1
        while size >> (8 * level):
            count = size >> (8 * level)
            levels.append([self.node(level - 1, number) for number in range(count // WIDTH * WIDTH, count)])
            level += 1
        return TileStack(size, levels)

    def root_of(self, low: int, high: int) -> bytes:
        """The root over the leaves low … high - 1, as RFC 6962 defines it."""
        count = high - low
        if count >= WIDTH and count & (count - 1) == 0 and low % count == 0:
            return self._complete(low, count)
        if count <= WIDTH and low % WIDTH + count <= WIDTH:
            return fold(peaks_of(self.leaves(low, high)))
        middle = low + (1 << ((count - 1).bit_length() - 1))
        return node_hash(self.root_of(low, middle), self.root_of(middle, high))

    def _complete(self, low: int, count: int) -> bytes:
        """A complete subtree of at least one tile, from the highest level whose tiles it fills."""
        level = (count.bit_length() - 1) // 8
        shift = 8 * level
        return complete_root([self.node(level - 1, number) for number in range(low >> shift, (low + count) >> shift)])

    def _tile(self, level: int, number: int, width: int) -> list[bytes]:
        stored = self._stored(level, number)[:width]
        start = number * WIDTH
        if len(stored) == width:
            return stored
        if level:
            return [self.node(level - 1, start + at) for at in range(width)]
        return stored + self._from_segments(start + len(stored), width - len(stored))

    def _stored(self, level: int, number: int) -> list[bytes]:
        """The hashes of a tile as far as they are stored: all, those of its widest partial tile, or none."""
        full = self._directory / layout.tile_path(level, number)
        partial = full.with_name(full.name + ".p")
        widths = [int(path.name) for path in partial.iterdir() if path.name.isdigit()] if partial.is_dir() else []
        for path in [full, *(partial / str(width) for width in sorted(widths, reverse=True))]:
            if path.is_file():
                return [node for node in split(read_small(path, WIDTH * HASH)) if len(node) == HASH]
        return []

    def _from_segments(self, start: int, count: int) -> list[bytes]:
        found: list[bytes] = []
        segments = list_segments(self._directory)
        for at, (first, path) in enumerate(segments):
            following = segments[at + 1][0] if at + 1 < len(segments) else None
            want = start + len(found)
            if first > want or (following is not None and following <= want):
                continue
            lines = islice(segment_lines(path), want - first, want - first + count - len(found))
            found += [leaf_hash(line[:-1]) for line in lines if line.endswith(b"\n")]
            if len(found) == count:
                return found
        raise TileError(f"records {start + len(found)} … {start + count - 1} are in no tile and no segment")


def write_tile(directory: Path, path: Path, data: bytes) -> None:
    """Write one tile; not synced, since it can be made again from the segments."""
    try:
        descriptor = _create(directory / path)
    except FileNotFoundError:  # the first of its folder
        for folder in reversed(path.parents[:-1]):
            (directory / folder).mkdir(mode=0o700, exist_ok=True)
        descriptor = _create(directory / path)
    try:
        view = memoryview(data)
        while view:  # on a disk that is nearly full a write may take some of it only, without an error
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)


def _create(path: Path) -> int:
    """OSError also of a pipe that lies there: it would be waited for, or hold what is to be kept."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileExistsError(errno.EEXIST, f"{path.name} is not an ordinary file", str(path))
    return descriptor
