"""A file that is not whole yet: its bytes, and beside them a note of which version of the file they belong to."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class Part:
    """`path` ends in .part, `note` in .part.json."""

    path: Path
    note: Path

    @classmethod
    def of(cls, final: Path) -> Part:
        return cls(final.with_name(f"{final.name}.part"), final.with_name(f"{final.name}.part.json"))

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def resume_at(self) -> int:
        """The byte to go on from. A whole file asks for its last byte again: servers refuse an empty range."""
        whole, version = self._noted()
        return min(self.size, max(0, whole - 1)) if version else 0

    def continues(self, version: str) -> bool:
        """Do these bytes belong to this version of the file?"""
        return version != "" and self._noted()[1] == version

    @contextlib.contextmanager
    def open(self, start: int, whole: int, version: str) -> Iterator[BinaryIO]:
        """To write from `start` on."""
        self.note.write_text(json.dumps({"size": whole, "version": version}), encoding="utf-8")
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            file.truncate(start)
            file.seek(start)
            yield file

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _noted(self) -> tuple[int, str]:
        """Size and version; a note that is missing or damaged says nothing, and the pull begins anew."""
        try:
            found = json.loads(self.note.read_text(encoding="utf-8"))
            return int(found["size"]), str(found["version"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, ""
