"""One llama.cpp context: its cache and its decode call."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from local_engine.native.batch import Batch
from local_engine.native.model import Model, ModelError, address_of, lib
from local_engine.scheduling.step import Copy, Discard, Edit, State, SwapIn, SwapOut, Trim

NO_CELL = 1
"""llama_decode's answer when the cache has no room for the batch: nothing was changed."""


@dataclass(frozen=True, slots=True)
class ContextShape:
    """`cells` in tokens; `rows`: most outputs of one decode, 0 for one of each sequence.

    `output`: scores of tokens, the hidden state of each token, or one score for a sequence.
    """

    cells: int
    sequences: int
    batch: int
    threads: int
    rows: int = 0
    output: Literal["tokens", "hidden", "rank"] = "tokens"


class Context:
    """A unified cache: any sequence may use all of it, and sequences share equal prefixes."""

    def __init__(self, model: Model, shape: ContextShape) -> None:
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = shape.cells
        parameters.n_batch = parameters.n_ubatch = shape.batch
        parameters.n_seq_max = shape.sequences
        parameters.n_outputs_max = max(shape.sequences, shape.rows) if shape.output == "tokens" else shape.batch
        parameters.n_threads = parameters.n_threads_batch = shape.threads
        parameters.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_AUTO
        parameters.kv_unified = True
        parameters.no_perf = True
        parameters.embeddings = shape.output != "tokens"
        if shape.output == "hidden":
            parameters.pooling_type = lib.LLAMA_POOLING_TYPE_NONE
        self.pointer = lib.llama_init_from_model(model.pointer, parameters)
        if not self.pointer:
            raise ModelError(f"no context of {shape.cells} tokens could be made; is there enough memory?")
        self._memory = lib.llama_get_memory(self.pointer)
        self._vocabulary_size = model.vocabulary_size
        self._width = model.width
        self._scores_at = address_of("llama_get_logits_ith")
        self._scores: dict[int, NDArray[np.float32]] = {}
        """Views of what a decode leaves, by address: it always lies in the same few places, and a view takes as long to
        make as its greatest score to find.
        """
        self.batch = Batch(shape.batch)
        self.copies: dict[int, State] = {}
        """What was swapped out, by number."""

    def close(self) -> None:
        lib.llama_free(self.pointer)

    def use_threads(self, threads: int) -> None:
        """For the next decodes."""
        lib.llama_set_n_threads(self.pointer, threads, threads)

    def edit(self, edit: Edit) -> None:
        """Raises ModelError when a copy that was swapped out does not come back: the books would be wrong."""
        match edit:
            case Copy():
                lib.llama_memory_seq_cp(self._memory, edit.source, edit.target, 0, edit.length)
            case Trim():
                lib.llama_memory_seq_rm(self._memory, edit.slot, edit.length, -1)
            case SwapOut():
                self.copies[edit.number] = self.save(edit.slot, sys.maxsize)
            case SwapIn():
                if not self.restore(edit.slot, self.copies[edit.number]):
                    raise ModelError("llama.cpp does not take back the cells that it gave")
            case Discard():
                del self.copies[edit.number]

    def clear(self) -> None:
        """Forget all cells. The data need no zeroing: cells without an owner are never read."""
        if self._memory:  # a model that reads a text in one piece has none
            lib.llama_memory_clear(self._memory, False)

    def decode(self) -> bool:
        """Run the batch. False when the cache had no room. Raises ModelError on any other failure."""
        status = lib.llama_decode(self.pointer, self.batch.native())
        if status == NO_CELL:
            return False
        if status:
            raise ModelError(f"llama_decode failed with status {status}")
        return True

    def decode_together(self) -> bool:
        """As `decode`, of tokens that see each other both ways."""
        lib.llama_set_causal_attn(self.pointer, False)
        try:
            return self.decode()
        finally:
            lib.llama_set_causal_attn(self.pointer, True)

    def logits(self, row: int) -> NDArray[np.float32]:
        """The raw scores of a batch row: a view, valid until the next decode."""
        address = self._scores_at(self.pointer, row)
        found = self._scores.get(address)
        if found is None:
            array = (ctypes.c_float * self._vocabulary_size).from_address(address)
            found = self._scores[address] = np.ctypeslib.as_array(array)
        return found

    def save(self, slot: int, most: int) -> State:
        """The state of a slot's cells; empty when it has more bytes than that."""
        size = lib.llama_state_seq_get_size(self.pointer, slot)
        if size > most:
            return b""
        state = bytearray(size)
        written = lib.llama_state_seq_get_data(self.pointer, (ctypes.c_uint8 * size).from_buffer(state), size, slot)
        del state[written:]
        return state

    def restore(self, slot: int, state: State) -> bool:
        """Put cells back into a slot that is empty. Only for what this program made: llama.cpp trusts it."""
        buffer = np.frombuffer(state, np.uint8).ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        return bool(lib.llama_state_seq_set_data(self.pointer, buffer, len(state), slot))

    def rank(self) -> float:
        """The score of sequence 0 by the model's ranking head, once its last token is decoded."""
        return float(lib.llama_get_embeddings_seq(self.pointer, 0)[0])

    def hidden(self, row: int) -> NDArray[np.float32]:
        """The hidden state of a batch row: a view, valid until the next decode."""
        pointer = lib.llama_get_embeddings_ith(self.pointer, row)
        return np.ctypeslib.as_array(pointer, shape=(self._width,))
