"""How chat and completions write their answers: the same events, two shapes."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from local_engine.jobs import Chosen, Piece, TokenScore, Usage

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Heading:
    """What every object of one answer repeats."""

    model: str
    fingerprint: str
    prefix: str
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def object(self, kind: str, choices: list[JsonObject]) -> JsonObject:
        return {
            "id": f"{self.prefix}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        }


class Dialect(Protocol):
    """One API's shapes; `index` is the choice's."""

    prefix: str
    stream_object: str
    whole_object: str

    def opening(self, index: int) -> JsonObject | None: ...
    def delta(self, index: int, piece: Piece) -> JsonObject: ...
    def ending(self, index: int, reason: str) -> JsonObject: ...
    def whole(self, index: int, pieces: list[Piece], reason: str) -> JsonObject: ...


class ChatDialect:
    prefix = "chatcmpl"
    stream_object = "chat.completion.chunk"
    whole_object = "chat.completion"

    def opening(self, index: int) -> JsonObject | None:
        return self._chunk(index, {"role": "assistant", "content": ""}, None)

    def delta(self, index: int, piece: Piece) -> JsonObject:
        return self._chunk(index, {"content": piece.text}, None, _chat_scores(piece.scores))

    def ending(self, index: int, reason: str) -> JsonObject:
        return self._chunk(index, {}, reason)

    def whole(self, index: int, pieces: list[Piece], reason: str) -> JsonObject:
        text = "".join(piece.text for piece in pieces)
        scores = _chat_scores(tuple(score for piece in pieces for score in piece.scores))
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "logprobs": scores, "finish_reason": reason}

    def _chunk(self, index: int, delta: JsonObject, reason: str | None, scores: Any = None) -> JsonObject:
        return {"index": index, "delta": delta, "logprobs": scores, "finish_reason": reason}


class CompletionDialect:
    prefix = "cmpl"
    stream_object = "text_completion"
    whole_object = "text_completion"

    def opening(self, index: int) -> JsonObject | None:
        return None

    def delta(self, index: int, piece: Piece) -> JsonObject:
        return self._chunk(index, piece.text, None, _completion_scores(piece.scores))

    def ending(self, index: int, reason: str) -> JsonObject:
        return self._chunk(index, "", reason)

    def whole(self, index: int, pieces: list[Piece], reason: str) -> JsonObject:
        scores = _completion_scores(tuple(score for piece in pieces for score in piece.scores))
        return self._chunk(index, "".join(piece.text for piece in pieces), reason, scores)

    def _chunk(self, index: int, text: str, reason: str | None, scores: Any = None) -> JsonObject:
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


def _chat_scores(scores: tuple[Chosen, ...]) -> JsonObject | None:
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
