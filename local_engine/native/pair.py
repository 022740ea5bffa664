"""A question and a text as the tokens that a ranking model scores: by its own prompt, or between its separators."""

from __future__ import annotations

from collections.abc import Callable

from local_engine.native.model import Model, lib
from local_engine.text.rank_prompt import rank_parts
from local_engine.text.template import prompt_tokens


def pairing(model: Model) -> Callable[[str, str], tuple[int, ...]]:
    """A function of question and text. Control tokens in either are text, as they are in a chat."""
    prompt = model.chat_template("rerank")
    return _by_separators(model) if prompt is None else _by_prompt(model, prompt)


def _by_prompt(model: Model, prompt: str) -> Callable[[str, str], tuple[int, ...]]:
    def read(text: str, special: bool) -> list[int]:  # noqa: FBT001 - as prompt_tokens calls it
        return model.tokenise(text, special=special)

    return lambda query, document: tuple(prompt_tokens(rank_parts(prompt, query, document), read))


def _by_separators(model: Model) -> Callable[[str, str], tuple[int, ...]]:
    """[BOS] question [EOS] [SEP] text [EOS], each mark where the vocabulary asks for it, as llama-server does."""
    vocab = model.vocab
    separator = int(lib.llama_vocab_sep(vocab))
    end = model.eos() if model.eos() >= 0 else separator
    begins = [model.bos()] if model.adds_bos else []
    ends = [end] if lib.llama_vocab_get_add_eos(vocab) else []
    separated = [separator] if lib.llama_vocab_get_add_sep(vocab) else []

    def tokens(query: str, document: str) -> tuple[int, ...]:
        asked, found = (model.tokenise(text, special=False) for text in (query, document))
        return (*begins, *asked, *ends, *separated, *found, *ends)

    return tokens
