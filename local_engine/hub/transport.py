"""How a pull reaches a server: one GET at a time. A transport follows no redirect and dials listed origins only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from local_engine.hub.sources import Target


class PullFailed(Exception):
    """The pull ends here; the sentence says what happened and what to do."""


class Cut(Exception):
    """The connection did not stand, or ended in the middle: trying again may help. The sentence names no secret."""


class Stale(Cut):
    """What is here already does not belong to the file that is there now: from the beginning."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Headers have names in lower case. `chunks` raises Cut when the body ends early."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


class Transport(Protocol):
    def get(self, target: Target, headers: Mapping[str, str]) -> AbstractContextManager[Answer]:
        """Ask one listed origin. Raises Cut, or PullFailed when it may not be dialled."""
