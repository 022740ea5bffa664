"""Retention: whole segments go, their hashes stay, so receipts and later proofs still verify (tlog-tiles, pruning)."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

from router.audit.errors import LedgerError
from router.audit.format import layout
from router.audit.format.notes import Checkpoint
from router.audit.format.segments import list_segments
from router.audit.format.tiles import WIDTH, HashReader, TileError, write_tile
from router.audit.home import sync_directory
from router.audit.prove import newest_checkpoint


def prunable(directory: Path, before: int) -> list[Path]:
    """The segments that hold only records below `before`; never the newest."""
    segments = list_segments(directory)
    return [path for (_, path), (end, _) in pairwise(segments) if end <= before]


def prepare(directory: Path, before: int) -> tuple[list[Path], int]:
    """Which segments may go, as far as they are signed for, their hashes now in durable tiles; and the index of the
    first record that is kept. A record must tell of that before remove(): what is missing without one was deleted.
    """
    checkpoint, _ = newest_checkpoint(directory)
    going = prunable(directory, min(before, checkpoint.size))
    if not going:
        return [], 0
    first = next(at for at, path in list_segments(directory) if path.name > going[-1].name)
    _keep_hashes(directory, first, checkpoint)
    return going, first


def remove(directory: Path, going: list[Path]) -> None:
    """The newest of them last: what is left has no hole, whenever this is interrupted."""
    for path in going:
        path.unlink()
    sync_directory(directory / layout.SEGMENTS)


def _keep_hashes(directory: Path, end: int, checkpoint: Checkpoint) -> None:
    """Check the tree against its signed root, then write the tiles over its first `end` leaves, and sync them."""
    reader = HashReader(directory)
    try:
        if reader.stack(checkpoint.size).root() != checkpoint.root:
            raise LedgerError(f"nothing was pruned: the records in {directory} are not those that were signed for")
        for number in range(-(-end // WIDTH)):
            width = min(WIDTH, end - number * WIDTH)
            hashes = reader.leaves(number * WIDTH, number * WIDTH + width)
            write_tile(directory, layout.tile_path(0, number, width), b"".join(hashes))
    except TileError as error:
        raise LedgerError(f"nothing was pruned: {error}") from error
    os.sync()
