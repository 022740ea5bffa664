"""A model with a ranking head, and the one context it reads texts in."""

from __future__ import annotations

from collections.abc import Sequence

from local_engine.native.adapters import Adapters
from local_engine.native.context import Context, ContextShape
from local_engine.native.model import Model

LONGEST = 2048
"""Tokens of question and text together; a model that reads in one piece needs buffers for all of them."""
CHUNK = 64


class Ranker:
    """Made and closed on the engine thread. `causal`: the model may read a text in chunks."""

    def __init__(self, model: Model, adapters: Adapters, cells: int, threads: int, *, causal: bool) -> None:
        self.model = model
        self.limit = min(cells, LONGEST, model.trained_context)
        self._chunk = min(CHUNK, self.limit) if causal else self.limit
        self._context = Context(model, ContextShape(self.limit, 1, self._chunk, threads, output="rank"))
        adapters.apply(self._context.pointer)

    def score(self, tokens: Sequence[int]) -> float:
        """Of at most `limit` tokens; the higher, the better the text answers the question."""
        self._context.clear()
        for start in range(0, len(tokens), self._chunk):
            self._context.batch.clear()
            self._context.batch.add(0, start, tokens[start : start + self._chunk], output=True)
            self._context.batch.mark_all()
            self._context.decode()
        return self._context.rank()

    def close(self) -> None:
        self._context.close()
        self.model.close()
