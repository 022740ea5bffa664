"""The segment being written, and the reserve that keeps room for the last words on a full disk."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from router.audit.format import layout
from router.audit.format.segments import open_segment

_DAY_S: Final = 86_400
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class JournalChanged(OSError):
    """Somebody else wrote to, cut or replaced a file of the ledger while we had it open."""


def changed(path: Path) -> JournalChanged:
    """What the operator is told."""
    what = f"{path} is not what this process left there: somebody removed it or put another copy in its place"
    return JournalChanged(errno.ESTALE, what)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether what we have open is what lies under that name."""
    try:
        ours, there = os.fstat(descriptor), path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


class Journal:
    """Appends bytes and makes them durable. After any OSError from here, nothing may be appended again."""

    def __init__(self, directory: Path, reserve_bytes: int, today: Callable[[], int] | None = None) -> None:
        self._directory = directory
        self._descriptor = -1
        self._path = directory  # of the open segment
        self._day = 0
        self.size = 0  # bytes in the open segment
        self._today = today or _today
        self._reserve = directory / layout.RESERVE
        self._fill_reserve(reserve_bytes)

    def _fill_reserve(self, size: int) -> None:
        descriptor = os.open(self._reserve, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if size:
                os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)

    def resume(self, path: Path, size: int, day: int) -> None:
        """Go on with a segment of `size` bytes whose first record is of that day (days since 1970)."""
        self._descriptor, self._path = open_segment(path, os.O_WRONLY | os.O_APPEND), path
        self.size, self._day = size, day

    def begin(self, first: int) -> None:
        """Close the segment (its bytes are durable already) and begin the next.

        The folder is opened first: where descriptors lack, nothing has been done yet, and it may be tried again.
        """
        path = self._directory / layout.SEGMENTS / layout.segment_name(first)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            descriptor = os.open(path, flags, 0o600)
            os.fsync(folder)
        finally:
            os.close(folder)
        self.close()
        self._descriptor, self._path, self.size, self._day = descriptor, path, 0, self._today()

    def is_due(self, limit: int) -> bool:
        """Whether the next record should begin a segment: this one is large, or of another day."""
        return self._descriptor < 0 or (self.size > 0 and (self.size >= limit or self._day != self._today()))

    def look(self) -> None:
        """JournalChanged if another file has the open segment's name, or none. write() sees the rest."""
        if self._descriptor >= 0 and not is_at(self._descriptor, self._path):
            raise changed(self._path)

    def write(self, data: bytes) -> bool:
        """Append; False if the reserve had to be given up for it. JournalChanged if we are not alone."""
        found = os.fstat(self._descriptor)
        if found.st_size != self.size or found.st_nlink != 1:
            there = f"{found.st_size} bytes and {found.st_nlink} names (hard links)"
            raise JournalChanged(errno.ESTALE, f"the segment has {there} where we wrote {self.size} under one name")
        try:
            self._write_all(data)
        except OSError as error:
            if error.errno not in _FULL or not self._reserve.exists():
                raise
            os.ftruncate(self._descriptor, self.size)
            self._reserve.unlink()
            self._write_all(data)
            self.size += len(data)
            return False
        self.size += len(data)
        return True

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _today() -> int:
    return int(time.time()) // _DAY_S
