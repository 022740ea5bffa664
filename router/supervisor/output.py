"""What a managed program writes, in a file that stays small: two halves, the older one thrown away.

Model servers print prompts when they are told to be talkative, so the file is the owner's alone (0600), lies beside the
ledger, and nothing of it goes into our own log.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

HALF_BYTES: Final = 1024 * 1024


class Output:
    """The newer half is at `path`, the older one beside it with `.1`."""

    def __init__(self, path: Path, half_bytes: int = HALF_BYTES) -> None:
        self._path = path
        self._half_bytes = half_bytes
        self._file = self._open()
        self._size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        """A disk that is full costs lines, not the program."""
        if self._size + len(data) > self._half_bytes:
            self._turn()
        try:
            self._file.write(data)
        except OSError:
            return
        self._size += len(data)

    def say(self, line: str) -> None:
        """A line of ours."""
        self.write(f"ringfence: {line}\n".encode())

    def _turn(self) -> None:
        self._file.close()
        self._path.replace(older(self._path))
        self._file = self._open()
        self._size = 0

    def _open(self) -> BinaryIO:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        return os.fdopen(descriptor, "ab", buffering=0)


def older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def tail(path: Path, lines: int) -> list[str]:
    """The last lines that are kept, oldest first. OSError when there are none yet."""
    kept = path.read_bytes()
    if kept.count(b"\n") < lines and older(path).exists():
        kept = older(path).read_bytes() + kept
    return kept.decode("utf-8", "replace").splitlines()[-lines:]
