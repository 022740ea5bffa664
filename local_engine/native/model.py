"""A loaded model: weights, vocabulary, tokeniser."""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as _bindings

from local_engine.huge_pages import HugePages, added, own_memory
from local_engine.jobs import Unloaded
from local_engine.text.markup import TAGS

lib: Any = _bindings
"""The generated ctypes functions carry no types worth checking."""

SPECIAL = _bindings.LLAMA_TOKEN_ATTR_CONTROL | _bindings.LLAMA_TOKEN_ATTR_USER_DEFINED


class ModelError(Exception):
    """The model cannot be loaded or used; the sentence says which file and why."""


def address_of(name: str) -> Any:
    """A function of a context and a row, which answers with an address instead of a pointer object."""
    place = ctypes.cast(getattr(lib, name), ctypes.c_void_p).value
    return ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)(place or 0)


def offloads() -> bool:
    """Whether the library has a back end for graphics cards."""
    return bool(lib.llama_supports_gpu_offload())


class Model:
    """Owns the native model. Made and closed on the engine thread; texts are read on another one."""

    def __init__(self, path: Path, gpu_layers: int = 0, *, copied: bool = False) -> None:
        """`copied`: the weights are read into memory of this process, to lie in huge pages; else the file is mapped."""
        lib.llama_backend_init()
        self._in_use = threading.Lock()
        parameters = lib.llama_model_default_params()
        parameters.n_gpu_layers = gpu_layers
        if copied:
            parameters.load_mode = lib.LLAMA_LOAD_MODE_NONE
        before = own_memory() if copied else []
        self.pointer = lib.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.pointer:
            raise ModelError(f"{path.name}: llama.cpp cannot load this file; is it a complete GGUF model?")
        self.pages = HugePages(added(before, own_memory()) if copied else ())
        self.vocab = lib.llama_model_get_vocab(self.pointer)
        self.vocabulary_size = int(lib.llama_vocab_n_tokens(self.vocab))
        self.trained_context = int(lib.llama_model_n_ctx_train(self.pointer))
        self.width = int(lib.llama_model_n_embd_out(self.pointer))
        self.forgets = not lib.llama_model_is_recurrent(self.pointer) and not lib.llama_model_is_hybrid(self.pointer)
        """Whether single tokens can be taken out of its memory again."""
        self.adds_bos = bool(lib.llama_vocab_get_add_bos(self.vocab))
        spelled = (self.tokenise(tag, special=True) for tag in TAGS)
        self._tags = {tokens[0] for tokens in spelled if len(tokens) == 1}
        self._pieces: list[bytes | None] = [None] * self.vocabulary_size

    def close(self) -> None:
        """Who sent a text may have left meanwhile, or this process be ending: that waits until the text is read."""
        with self._in_use:
            self.pages = HugePages()
            lib.llama_model_free(self.pointer)
            self.pointer = None

    def describe(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        lib.llama_model_desc(self.pointer, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def chat_template(self, name: str = "") -> str | None:
        """The model's own, or the one that it has under this name."""
        raw = lib.llama_model_chat_template(self.pointer, name.encode() or None)
        return raw.decode("utf-8") if raw else None

    def token_text(self, token: int) -> str:
        """The text of a special token, empty for "none"."""
        return str(lib.llama_vocab_get_text(self.vocab, token).decode("utf-8", "replace")) if token >= 0 else ""

    def bos(self) -> int:
        return int(lib.llama_vocab_bos(self.vocab))

    def eos(self) -> int:
        return int(lib.llama_vocab_eos(self.vocab))

    def ends(self, token: int) -> bool:
        """Whether the model says by this token that its answer is complete."""
        return bool(lib.llama_vocab_is_eog(self.vocab, token))

    def special_texts(self) -> list[str]:
        """Spellings that the tokeniser would turn into control tokens."""
        attribute, vocab = lib.llama_vocab_get_attr, self.vocab
        marked = (token for token in range(self.vocabulary_size) if attribute(vocab, token) & SPECIAL)
        return [text for token in marked if (text := self.token_text(token))]

    def tokenise(self, text: str, *, special: bool, start: bool = False) -> list[int]:
        """Token ids of a text. `special` reads control tokens; `start` adds the model's own beginning token. Raises
        Unloaded.
        """
        raw = text.encode("utf-8")
        room = len(raw) + 8
        buffer = (ctypes.c_int32 * room)()
        with self._in_use:
            if not self.pointer:
                raise Unloaded
            count = lib.llama_tokenize(self.vocab, raw, len(raw), buffer, room, start, special)
        if count < 0:
            raise ModelError("the tokeniser returned more tokens than the text has bytes")
        return list(buffer[:count])

    def piece(self, token: int) -> bytes:
        """The bytes of one token; control tokens have none, but for the tags that `text.markup` reads."""
        found = self._pieces[token]
        if found is None:
            found = self._pieces[token] = self._piece(token)
        return found

    def _piece(self, token: int) -> bytes:
        shown = token in self._tags
        buffer = ctypes.create_string_buffer(64)
        count = lib.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, shown)
        if count < 0:
            buffer = ctypes.create_string_buffer(-count)
            count = lib.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, shown)
        return buffer.raw[:count]
