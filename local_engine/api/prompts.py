"""Inputs of completions and embeddings: text, token ids, or a list of either."""

from __future__ import annotations

from local_engine.api.errors import invalid
from local_engine.jobs import Loaded

MAX_INPUTS = 256
Given = str | tuple[int, ...]


def read_prompts(found: object, name: str, loaded: Loaded) -> list[Given]:
    """One entry per prompt: text, or token ids that the vocabulary has."""
    if isinstance(found, str):
        return [found]
    if not isinstance(found, list) or not len(found) > 0:
        raise invalid(name, f"{name} must be a string, a list of strings, or token ids.")
    if all(_is_token(item) for item in found):
        return [_tokens(found, name, loaded)]
    if len(found) > MAX_INPUTS:
        raise invalid(name, f"{name} may hold at most {MAX_INPUTS} entries.")
    return [_entry(item, f"{name}[{index}]", loaded) for index, item in enumerate(found)]


def _entry(item: object, place: str, loaded: Loaded) -> Given:
    if isinstance(item, str):
        return item
    if isinstance(item, list) and item and all(_is_token(token) for token in item):
        return _tokens(item, place, loaded)
    raise invalid(place, f"{place} must be a string or a list of token ids.")


def _is_token(item: object) -> bool:
    return isinstance(item, int) and not isinstance(item, bool)


def _tokens(items: list[int], place: str, loaded: Loaded) -> tuple[int, ...]:
    if not all(0 <= token < loaded.vocabulary_size for token in items):
        raise invalid(place, f"{place} holds a token id outside 0 to {loaded.vocabulary_size - 1}.")
    return tuple(items)
