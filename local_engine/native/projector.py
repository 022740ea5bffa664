"""The model's eyes: a projector file beside the model, which makes of a picture what stands where tokens would.

libmtmd is llama.cpp's own; only its C interface is used, and none of its calls that fetch, spawn or read files but the
projector's. A picture is decoded by the stb_image in it.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import mtmd_cpp as _bindings
from numpy.typing import NDArray

from local_engine.jobs import Unloaded
from local_engine.native.diagnostics import callback, picture_callback
from local_engine.native.heap import Heap
from local_engine.native.model import Model, ModelError
from local_engine.native.model import lib as llama
from local_engine.pictures.bounds import JPEG, BadPicture
from local_engine.pictures.prompt import MOST_PIECES, MOST_TOKENS, Layout

mtmd: Any = _bindings
"""The generated ctypes functions carry no types worth checking."""

SAMPLE = 64
"""Pixels on a side of the grey picture that the first look is at."""


class Projector:
    """Made, used and closed on the engine thread; `layout` may be called on one other, too (libmtmd says so)."""

    def __init__(self, path: Path, model: Model, threads: int, most: int) -> None:
        """`most`: tokens of one decode. Raises ModelError when the file does not fit the model or this engine."""
        mtmd.mtmd_helper_log_set(callback, ctypes.c_void_p(0))
        parameters = mtmd.mtmd_context_params_default()
        parameters.use_gpu = parameters.print_timings = parameters.warmup = False
        parameters.n_threads = threads
        parameters.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_AUTO
        self._width = int(llama.llama_model_n_embd_inp(model.pointer))
        self._most = most
        self._heap = Heap()
        self._in_use = threading.Lock()
        self._open: tuple[bytes, Any] = (b"", None)
        self._pointer = mtmd.mtmd_init_from_file(str(path).encode(), model.pointer, parameters)
        if not self._pointer:
            raise ModelError(f"{path.name}: libmtmd cannot load this projector; was it made for this very model?")
        self.whole = bool(mtmd.mtmd_decode_use_non_causal(self._pointer, None))
        """Whether the tokens of a piece see each other both ways, so that they must be decoded together."""
        if why := self._unfit():
            mtmd.mtmd_free(self._pointer)
            raise ModelError(f"{path.name}: {why}")
        mtmd.mtmd_helper_log_set(picture_callback, ctypes.c_void_p(0))

    def _unfit(self) -> str:
        if not mtmd.mtmd_support_vision(self._pointer):
            return "it is no projector of pictures"
        if mtmd.mtmd_decode_use_mrope(self._pointer):
            return "the model counts positions in three dimensions (M-RoPE, as Qwen2-VL), which is not served here"
        grey = bytes([128]) * (SAMPLE * SAMPLE * 3)
        with self._chunks(mtmd.mtmd_bitmap_init(SAMPLE, SAMPLE, _array(grey))) as chunks:
            pictures = [chunk for chunk in _each(chunks) if _is_picture(chunk)]
            if any(mtmd.mtmd_input_chunk_get_n_pos(one) != _length(one) for one in pictures):
                return "the model does not count one position for each token of a picture, which is not served here"
        return ""

    def layout(self, picture: bytes) -> Layout:
        """Decodes it once, to see that it can be. BadPicture where it cannot, or has too many tokens;
        Unloaded.

        Who asked may have left meanwhile, and the model be unloaded: that waits for the end of this.
        """
        with self._in_use:
            if not self._pointer:
                raise Unloaded
            found = self._found(picture)
        pieces = [one for one in found if isinstance(one, int)]
        if len(pieces) > MOST_PIECES or max(pieces, default=0) > (self._most if self.whole else MOST_TOKENS):
            raise BadPicture(f"it takes {sum(pieces)} tokens in {len(pieces)} pieces, which is too many")
        return found

    def _found(self, picture: bytes) -> Layout:
        with self._chunks(self._bitmap(picture)) as chunks:
            return tuple(_length(chunk) if _is_picture(chunk) else _texts(chunk) for chunk in _each(chunks))

    def embeddings(self, picture: bytes, number: int) -> NDArray[np.float32]:
        """What stands for one piece of a picture, a row for each token. Takes as long as a long prompt."""
        chunks = self._kept(picture)
        chunk = [one for one in _each(chunks) if _is_picture(one)][number]
        if mtmd.mtmd_encode_chunk(self._pointer, chunk):
            raise BadPicture("it cannot be encoded")
        pointer = mtmd.mtmd_get_output_embd(self._pointer)
        return np.array(np.ctypeslib.as_array(pointer, shape=(_length(chunk), self._width)))

    def _kept(self, picture: bytes) -> Any:
        """A picture in pieces is decoded once for all of them: the last one stays."""
        if self._open[0] != picture or self._open[1] is None:
            self._forget()
            self._open = (picture, self._tokenised(self._bitmap(picture)))
        return self._open[1]

    def _forget(self) -> None:
        if self._open[1] is not None:
            mtmd.mtmd_input_chunks_free(self._open[1])
        self._open = (b"", None)

    def _bitmap(self, picture: bytes) -> Any:
        if picture.startswith(JPEG) and not self._heap.overwrites:
            raise BadPicture("a JPEG is not read on this machine, whose C library cannot overwrite memory: send a PNG")
        with self._heap.overwritten():
            bitmap = mtmd.mtmd_helper_bitmap_init_from_buf(self._pointer, _array(picture), len(picture), False)
        if not bitmap:
            raise BadPicture("it cannot be decoded")
        return bitmap

    @contextmanager
    def _chunks(self, bitmap: Any) -> Iterator[Any]:
        chunks = self._tokenised(bitmap)
        try:
            yield chunks
        finally:
            mtmd.mtmd_input_chunks_free(chunks)

    def _tokenised(self, bitmap: Any) -> Any:
        """The picture alone, as text and pieces; the bitmap is freed."""
        chunks = mtmd.mtmd_input_chunks_init()
        part = mtmd.mtmd_input_part(None, bitmap)
        parts = (ctypes.POINTER(mtmd.mtmd_input_part) * 1)(ctypes.pointer(part))
        failed = mtmd.mtmd_tokenize_from_parts(self._pointer, chunks, parts, 1, False)
        mtmd.mtmd_bitmap_free(bitmap)
        if failed:
            mtmd.mtmd_input_chunks_free(chunks)
            raise BadPicture("it cannot be prepared for the model")
        return chunks

    def close(self) -> None:
        self._forget()
        with self._in_use:
            mtmd.mtmd_free(self._pointer)
            self._pointer = None


def _array(data: bytes) -> Any:
    return (ctypes.c_uint8 * len(data)).from_buffer_copy(data)


def _each(chunks: Any) -> Iterator[Any]:
    return (mtmd.mtmd_input_chunks_get(chunks, index) for index in range(mtmd.mtmd_input_chunks_size(chunks)))


def _is_picture(chunk: Any) -> bool:
    return bool(mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE)


def _length(chunk: Any) -> int:
    return int(mtmd.mtmd_input_chunk_get_n_tokens(chunk))


def _texts(chunk: Any) -> tuple[int, ...]:
    count = ctypes.c_size_t()
    tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
    return tuple(tokens[: count.value])
