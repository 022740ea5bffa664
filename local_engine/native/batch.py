"""The arrays behind a llama_batch, allocated once and filled by slices."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from local_engine.native.model import lib


class Batch:
    """Room for `size` tokens. Entries are added in the order of their sequence ids."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self._tokens = np.zeros(size, np.int32)
        self._positions = np.zeros(size, np.int32)
        self._widths = np.ones(size, np.int32)
        self._sequences = np.zeros(size, np.int32)
        self._outputs = np.zeros(size, np.int8)
        pointer = ctypes.POINTER(ctypes.c_int32)
        address, step = self._sequences.ctypes.data, self._sequences.itemsize
        self._rows = (pointer * size)(
            *(ctypes.cast(ctypes.c_void_p(address + index * step), pointer) for index in range(size))
        )
        self._native = self._structure()
        self._embeddings: NDArray[np.float32] | None = None

    def clear(self) -> None:
        self.count = 0
        self._embeddings = None

    def add(self, sequence: int, start: int, tokens: Sequence[int], *, output: bool, before: int = 0) -> int:
        """Append a run of tokens at positions `start`…; returns the row of its last token.

        `output` asks for what the last token gives, and the `before` ones before it.
        """
        if len(tokens) == 1:  # every sequence that generates, in every step: slices take ten times as long
            return self._add_one(sequence, start, tokens[0], output=output)
        first, last = self.count, self.count + len(tokens)
        self._tokens[first:last] = tokens
        self._positions[first:last] = range(start, start + len(tokens))
        self._sequences[first:last] = sequence
        self._outputs[first:last] = 0
        self._outputs[last - 1 - before : last] = output
        self.count = last
        return last - 1

    def _add_one(self, sequence: int, position: int, token: int, *, output: bool) -> int:
        row = self.count
        self._tokens[row] = token
        self._positions[row] = position
        self._sequences[row] = sequence
        self._outputs[row] = output
        self.count = row + 1
        return row

    def look(self, sequence: int, start: int, rows: NDArray[np.float32]) -> None:
        """A run of embeddings instead of tokens, alone in the batch, of which no output is wanted."""
        self.add(sequence, start, [0] * len(rows), output=False)
        self._embeddings = np.ascontiguousarray(rows)

    def mark_all(self) -> None:
        """Ask for the output of every token (embeddings)."""
        self._outputs[: self.count] = 1

    def native(self) -> Any:
        """The one structure over the arrays, with the count of this moment."""
        if self._embeddings is not None:
            return self._looked(self._embeddings)
        self._native.n_tokens = self.count
        return self._native

    def _looked(self, rows: NDArray[np.float32]) -> Any:
        """A structure of its own, over the same arrays but the tokens'."""
        batch = self._structure()
        batch.n_tokens, batch.token = self.count, None
        batch.embd = rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        return batch

    def _structure(self) -> Any:
        batch = lib.llama_batch()
        integer, flag = ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.c_int8)
        batch.token = self._tokens.ctypes.data_as(integer)
        batch.pos = self._positions.ctypes.data_as(integer)
        batch.n_seq_id = self._widths.ctypes.data_as(integer)
        batch.seq_id = self._rows
        batch.logits = self._outputs.ctypes.data_as(flag)
        return batch
