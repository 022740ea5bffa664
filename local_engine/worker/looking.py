"""What running sequences see: a picture's piece is encoded when its turn comes, and kept until it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from local_engine.pictures.prompt import Run
from local_engine.scheduling.step import Span


class Encoder(Protocol):
    """See local_engine.native.projector.Projector."""

    def embeddings(self, picture: bytes, number: int) -> NDArray[np.float32]: ...


class Looker:
    """One piece for each sequence at most, by the sequence's key."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._seen: dict[int, tuple[Run, NDArray[np.float32]]] = {}

    def rows(self, key: int, runs: Sequence[Run], span: Span) -> NDArray[np.float32]:
        """What stands for the span's tokens. Encodes the piece that they are of, once. Raises BadPicture."""
        run = next(run for run in runs if run.start <= span.start < run.end)
        known = self._seen.get(key)
        if known is None or known[0] is not run:
            known = self._seen[key] = (run, self._encoder.embeddings(run.picture, run.number))
        end = span.start + len(span.tokens)
        if end == run.end:
            del self._seen[key]
        return known[1][span.start - run.start : end - run.start]

    def forget(self, key: int) -> None:
        """The sequence is over."""
        self._seen.pop(key, None)
