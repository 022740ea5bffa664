"""What the log's own key signs when an epoch begins, so that no stranger can begin one, although anyone can seal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SIGNED: Final = ("suite", "sealed", "reviewer", "boot")


def epoch_statement(log: str, epoch: int, index: int, prev: str, body: Mapping[str, str]) -> bytes:
    """Nine lines, each ended by a line feed; `prev` is the record's, in hexadecimal. KeyError: a field lacks."""
    lines = ["ringfence/key-epoch/v1", log, str(epoch), str(index), prev, *(body[name] for name in SIGNED)]
    return ("\n".join(lines) + "\n").encode()
