"""A native sampler chain per sequence: no scores travel to Python unless a grammar or log-probabilities need them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from local_engine.jobs import Sampling
from local_engine.native.context import Context
from local_engine.native.model import Model, lib

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
REPEAT_WINDOW = 64
"""Tokens that `repeat_penalty` looks back over, prompt included, as llama.cpp does."""


class GrammarError(ValueError):
    """The grammar cannot be compiled."""


class DeadEnd(Exception):
    """No token continues the text within the grammar."""


class Sampler:
    """Chooses the next token of one sequence. Closed once, on the engine thread."""

    def __init__(self, model: Model, sampling: Sampling, prompt: Sequence[int]) -> None:
        self._model = model
        self._grammar = _grammar(model, sampling.grammar) if sampling.grammar else None
        links = _links(model, sampling, prompt)
        self._greedy = sampling.temperature == 0 and len(links) == bool(sampling.logit_bias)
        self._biased = np.array([token for token, _ in sampling.logit_bias], np.intp)
        self._biases = np.array([bias for _, bias in sampling.logit_bias], np.float32)
        self._room: Any = None
        self._chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for link in (*links, *_ending(sampling)):
            lib.llama_sampler_chain_add(self._chain, link)

    def close(self) -> None:
        lib.llama_sampler_free(self._chain)
        if self._grammar:
            lib.llama_sampler_free(self._grammar)

    def pick(self, context: Context, row: int) -> int:
        if self._grammar:
            return self._pick_within(context, row)
        if self._greedy:
            return self._best(context.logits(row))
        return int(lib.llama_sampler_sample(self._chain, context.pointer, row))

    def _best(self, scores: Any) -> int:
        """The greatest score, biases included; the scores stay as they were, for log-probabilities."""
        if not len(self._biased):
            return int(scores.argmax())
        kept = scores[self._biased]
        scores[self._biased] = kept + self._biases
        token = int(scores.argmax())
        scores[self._biased] = kept
        return token

    def _pick_within(self, context: Context, row: int) -> int:
        """Most free choices obey the grammar already: test the choice first, filter the vocabulary only if not."""
        scores = context.logits(row)
        saved = lib.llama_sampler_clone(self._chain)
        token = _apply(self._candidates(scores), self._chain)
        if not self._allows(token):
            lib.llama_sampler_free(self._chain)
            self._chain, saved = saved, None
            token = self._filtered(scores)
        if saved:
            lib.llama_sampler_free(saved)
        lib.llama_sampler_accept(self._grammar, token)
        lib.llama_sampler_accept(self._chain, token)
        return token

    def _filtered(self, scores: Any) -> int:
        candidates = self._candidates(scores)
        array = _view(candidates)
        lib.llama_sampler_apply(self._grammar, ctypes.byref(array))
        if not np.isfinite(candidates["logit"]).any():
            raise DeadEnd
        lib.llama_sampler_apply(self._chain, ctypes.byref(array))
        return int(array.data[array.selected].id)

    def _allows(self, token: int) -> bool:
        single = np.array([(token, 1.0, 0.0)], CANDIDATE)
        array = _view(single)
        lib.llama_sampler_apply(self._grammar, ctypes.byref(array))
        return bool(np.isfinite(single["logit"][0]))

    def _candidates(self, scores: Any) -> Any:
        """The whole vocabulary with these scores, in the one array that this sampler has for it."""
        if self._room is None:
            self._room = np.empty(self._model.vocabulary_size, CANDIDATE)
        self._room["id"] = np.arange(len(self._room))
        self._room["logit"] = scores
        self._room["p"] = 0
        return self._room


def _view(candidates: Any) -> Any:
    pointer = candidates.ctypes.data_as(ctypes.POINTER(lib.llama_token_data))
    return lib.llama_token_data_array(data=pointer, size=len(candidates), selected=-1, sorted=False)


def _apply(candidates: Any, chain: Any) -> int:
    array = _view(candidates)
    lib.llama_sampler_apply(chain, ctypes.byref(array))
    return int(array.data[array.selected].id)


def _grammar(model: Model, text: str) -> Any:
    grammar = lib.llama_sampler_init_grammar(model.vocab, text.encode(), b"root")
    if not grammar:
        raise GrammarError("the grammar cannot be compiled")
    return grammar


def _links(model: Model, sampling: Sampling, prompt: Sequence[int]) -> list[Any]:
    """What changes the scores before the choice: biases, then penalties."""
    links = []
    if sampling.logit_bias:
        biases = (lib.llama_logit_bias * len(sampling.logit_bias))(*sampling.logit_bias)
        links.append(lib.llama_sampler_init_logit_bias(model.vocabulary_size, len(biases), biases))
    if sampling.repeat_penalty != 1:
        repeat = lib.llama_sampler_init_penalties(model.vocabulary_size, REPEAT_WINDOW, sampling.repeat_penalty, 0, 0)
        for token in prompt[-REPEAT_WINDOW:]:
            lib.llama_sampler_accept(repeat, token)
        links.append(repeat)
    if sampling.frequency_penalty or sampling.presence_penalty:
        # OpenAI counts every token of the answer so far, and nothing of the prompt.
        window, frequency, presence = model.trained_context, sampling.frequency_penalty, sampling.presence_penalty
        links.append(lib.llama_sampler_init_penalties(model.vocabulary_size, window, 1.0, frequency, presence))
    return links


def _ending(sampling: Sampling) -> list[Any]:
    """The choice itself; llama.cpp's order: top-k, top-p, min-p, temperature, draw."""
    if sampling.temperature == 0:
        return [lib.llama_sampler_init_greedy()]
    ending = [lib.llama_sampler_init_top_k(sampling.top_k)] if sampling.top_k else []
    if sampling.top_p < 1:
        ending.append(lib.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0:
        ending.append(lib.llama_sampler_init_min_p(sampling.min_p, 1))
    return [
        *ending,
        lib.llama_sampler_init_temp(sampling.temperature),
        lib.llama_sampler_init_dist(sampling.seed),
    ]
