"""Leaf hashes on their way from the process that made them to the one that joins them: by a file, a block at a time, so
that neither holds those of a whole segment, however large it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from router.audit.format.tiles import HASH, split

BLOCK: Final = 8192  # hashes


class Leaves(NamedTuple):
    """So many hashes, one behind the other in a file, and the last of them."""

    path: Path
    size: int
    last: bytes

    def blocks(self) -> Iterator[list[bytes]]:
        """In order; the file is removed behind them. OSError."""
        with self.path.open("rb") as file:
            while data := file.read(BLOCK * HASH):
                yield split(data)
        self.path.unlink()


class LeafFile:
    """A file that is being written, and removed with the block unless it is told of. OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb")
        self._told = False
        self.size = 0
        self._last = b""

    def add(self, hashes: Sequence[bytes]) -> None:
        self._file.write(b"".join(hashes))
        self.size += len(hashes)
        self._last = hashes[-1]

    def leaves(self) -> Leaves:
        """All of them: whoever reads these removes the file."""
        self._file.close()
        self._told = True
        return Leaves(self._path, self.size, self._last)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if not self._told:
            self._path.unlink()
