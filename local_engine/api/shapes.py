"""How OpenAI's two generation APIs write an answer: the same events, two shapes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from local_engine.jobs import Chosen, Finished, Piece, TokenScore, Usage

JsonObject = dict[str, Any]
DONE = b"data: [DONE]\n\n"


class Shape(Protocol):
    """One request's answer. Each method returns the objects to send, in order; `index` is the choice's.

    `whole` gets the pieces and the end of every choice; `closing` follows the last choice's end.
    """

    terminator: bytes

    def opening(self, choices: int) -> list[JsonObject]: ...
    def piece(self, index: int, piece: Piece) -> list[JsonObject]: ...
    def ending(self, index: int, end: Finished) -> list[JsonObject]: ...
    def closing(self, usages: list[Usage]) -> list[JsonObject]: ...
    def whole(self, pieces: Sequence[list[Piece]], ends: Sequence[Finished]) -> JsonObject: ...


@dataclass(frozen=True, slots=True)
class Heading:
    """What every object of one answer repeats; `usage_chunk` is stream_options.include_usage."""

    model: str
    fingerprint: str
    usage_chunk: bool = False
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def object(self, prefix: str, kind: str, choices: list[JsonObject]) -> JsonObject:
        return {
            "id": f"{prefix}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        }


class CompletionShape:
    terminator = DONE

    def __init__(self, heading: Heading) -> None:
        self._heading = heading

    def opening(self, choices: int) -> list[JsonObject]:
        return []

    def piece(self, index: int, piece: Piece) -> list[JsonObject]:
        return [self._chunk([_text(index, piece.text, None, _completion_scores(piece.scores))])]

    def ending(self, index: int, end: Finished) -> list[JsonObject]:
        return [self._chunk([_text(index, "", end.reason)])]

    def closing(self, usages: list[Usage]) -> list[JsonObject]:
        return [{**self._chunk([]), "usage": usage_object(usages)}] if self._heading.usage_chunk else []

    def whole(self, pieces: Sequence[list[Piece]], ends: Sequence[Finished]) -> JsonObject:
        choices = [
            _text(index, joined(found), end.reason, _completion_scores(all_scores(found)))
            for index, (found, end) in enumerate(zip(pieces, ends, strict=True))
        ]
        return {**self._chunk(choices), "usage": usage_object([end.usage for end in ends])}

    def _chunk(self, choices: list[JsonObject]) -> JsonObject:
        body = self._heading.object("cmpl", "text_completion", choices)
        return {**body, "usage": None} if self._heading.usage_chunk else body


def joined(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def all_scores(pieces: list[Piece]) -> tuple[Chosen, ...]:
    return tuple(score for piece in pieces for score in piece.scores)


def _text(index: int, text: str, reason: str | None, scores: Any = None) -> JsonObject:
    return {"index": index, "text": text, "logprobs": scores, "finish_reason": reason}


def usage_object(usages: list[Usage]) -> JsonObject:
    """The prompt counts once, however many choices it had."""
    prompt = max((usage.prompt_tokens for usage in usages), default=0)
    completion = sum(usage.completion_tokens for usage in usages)
    cached = max((usage.cached_tokens for usage in usages), default=0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _token(score: TokenScore) -> JsonObject:
    text = score.piece.decode("utf-8", "replace")
    return {"token": text, "logprob": score.logprob, "bytes": list(score.piece)}


def chat_scores(scores: tuple[Chosen, ...]) -> JsonObject | None:
    if not scores:
        return None
    content = [{**_token(one.score), "top_logprobs": [_token(rival) for rival in one.rivals]} for one in scores]
    return {"content": content, "refusal": None}


def _completion_scores(scores: tuple[Chosen, ...]) -> JsonObject | None:
    """OpenAI's older shape; rivals of equal text keep the better score."""
    if not scores:
        return None
    texts = [one.score.piece.decode("utf-8", "replace") for one in scores]
    rivals = [
        {rival.piece.decode("utf-8", "replace"): rival.logprob for rival in reversed(one.rivals)} for one in scores
    ]
    return {"tokens": texts, "token_logprobs": [one.score.logprob for one in scores], "top_logprobs": rivals}
