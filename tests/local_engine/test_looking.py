"""A piece of a picture is encoded when its turn comes, once, and not kept for longer than it is read."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from local_engine.api.errors import from_failure
from local_engine.jobs import Failed
from local_engine.pictures.bounds import BadPicture
from local_engine.pictures.prompt import Run
from local_engine.scheduling.step import Span
from local_engine.worker.looking import Looker

RUNS = (Run(3, 8, b"one", 0), Run(8, 10, b"one", 1), Run(20, 24, b"other", 0))


class Encoder:
    """Rows that say which piece they are of, and which of its rows."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, int]] = []

    def embeddings(self, picture: bytes, number: int) -> NDArray[np.float32]:
        self.asked.append((picture, number))
        if picture == b"bad":
            raise BadPicture("it cannot be encoded")
        [run] = [run for run in RUNS if (run.picture, run.number) == (picture, number)]
        return np.arange(run.start, run.end, dtype=np.float32).reshape(-1, 1)


def span(start: int, length: int) -> Span:
    return Span(0, start, (-1,) * length, sample=False)


def read(looker: Looker, key: int, start: int, length: int) -> list[float]:
    return [float(row[0]) for row in looker.rows(key, RUNS, span(start, length))]


def test_each_chunk_gets_its_rows_and_each_piece_is_encoded_once() -> None:
    encoder = Encoder()
    looker = Looker(encoder)
    assert read(looker, 1, 3, 2) == [3, 4]
    assert read(looker, 2, 20, 1) == [20]  # another sequence between the chunks
    assert read(looker, 1, 5, 3) == [5, 6, 7]
    assert read(looker, 1, 8, 2) == [8, 9]
    assert read(looker, 2, 21, 3) == [21, 22, 23]
    assert encoder.asked == [(b"one", 0), (b"other", 0), (b"one", 1)]


def test_what_is_read_or_over_is_not_kept() -> None:
    encoder = Encoder()
    looker = Looker(encoder)
    read(looker, 1, 3, 5)
    read(looker, 1, 3, 5)  # put back, and read again
    assert len(encoder.asked) == 2
    read(looker, 1, 20, 1)
    looker.forget(1)
    looker.forget(1)
    read(looker, 1, 21, 1)
    assert len(encoder.asked) == 4


def test_a_picture_that_cannot_be_encoded_is_the_requests_fault() -> None:
    with pytest.raises(BadPicture):
        Looker(Encoder()).rows(1, (Run(0, 4, b"bad", 0),), span(0, 4))
    assert from_failure(Failed("invalid_picture", "no")).status == 400
