"""A prompt or an answer on its way into a sealed file: piece by piece: no plaintext gathers anywhere.

    file  = piece piece … ; piece = length (4 bytes, big-endian) || sealed (HPKE)

Each piece is bound to its number and to whether it is the last: none can be cut off, moved or exchanged.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Final

from router.audit import envelope
from router.audit.format import content
from router.audit.format.seal import ReviewerPublic
from router.audit.home import sync_directory, write_all

PIECE: Final = 64 * 1024
PART: Final = ".part"


class Capture:
    """One text. Not thread-safe; seal() and finish() write files: from an event loop, call them in a thread."""

    def __init__(self, folder: Path, reviewer: ReviewerPublic, info: bytes) -> None:
        self._path = folder / f"{secrets.token_hex(16)}{PART}"
        self._reviewer = reviewer
        self._info = info
        self._text = bytearray()
        self._number = 0
        self._digest = hashlib.sha256()
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.name = ""  # once it is finished

    def add(self, data: bytes) -> bool:
        """Take some; whether it is time to seal()."""
        self._text += data
        return len(self._text) >= PIECE

    def seal(self) -> None:
        """Seal and write what is there of whole pieces."""
        while len(self._text) >= PIECE:
            self._put(bytes(self._text[:PIECE]), last=False)
            del self._text[:PIECE]

    def _put(self, text: bytes, *, last: bool) -> None:
        sealed = envelope.seal(self._reviewer, text, content.piece_info(self._info, self._number, last=last))
        data = len(sealed).to_bytes(4, "big") + sealed
        write_all(self._descriptor, data)
        self._digest.update(data)
        self._number += 1

    def finish(self) -> str:
        """All of it is on the disk: the name that its record should give (`capture`), the SHA-256 of the file."""
        self.seal()
        self._put(bytes(self._text), last=True)
        self._text.clear()
        os.fsync(self._descriptor)
        self.close()
        name = self._digest.hexdigest()
        self._path.rename(self._path.with_name(name + content.SUFFIX))
        sync_directory(self._path.parent)
        self.name = name
        return name

    def close(self) -> None:
        """Let go of the file; one that was not finished stays as it is, sealed and named by no record."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
