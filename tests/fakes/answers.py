"""What an OpenAI-compatible server says, in its documented shapes."""

from __future__ import annotations

import json
from typing import Any

CREATED = 1_700_000_000
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


def as_bytes(document: object) -> bytes:
    return json.dumps(document).encode()


def event(document: object) -> bytes:
    return b"data: " + as_bytes(document) + b"\n\n"


def models(name: str) -> bytes:
    return as_bytes(
        {"object": "list", "data": [{"id": name, "object": "model", "created": CREATED, "owned_by": "fake"}]}
    )


def error(message: str, code: str) -> bytes:
    return as_bytes({"error": {"message": message, "type": "fake_error", "param": None, "code": code}})


def embeddings(model: str, count: int) -> bytes:
    rows = [{"object": "embedding", "index": index, "embedding": [0.6, 0.8]} for index in range(count)]
    return as_bytes({"object": "list", "data": rows, "model": model, "usage": {"prompt_tokens": 3, "total_tokens": 3}})


def ranks(model: str, count: int, most: int) -> bytes:
    """The last document answers best."""
    rows = [{"index": index, "relevance_score": (index + 1) / count} for index in reversed(range(count))]
    return as_bytes({"id": "fake-1", "model": model, "usage": {"total_tokens": 3}, "results": rows[:most]})


def answer(path: str, model: str, text: str) -> bytes:
    """A whole chat or text completion."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None}
    if path.endswith("chat/completions"):
        kind = "chat.completion"
        choice["message"] = {"role": "assistant", "content": text, "refusal": None}
    else:
        kind = "text_completion"
        choice["text"] = text
    return as_bytes(
        {"id": "fake-1", "object": kind, "created": CREATED, "model": model, "choices": [choice], "usage": USAGE}
    )


def piece(path: str, model: str, text: str, finish: str | None = None) -> bytes:
    """One streamed event."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    if path.endswith("chat/completions"):
        kind = "chat.completion.chunk"
        choice["delta"] = {"content": text} if text else {}
    else:
        kind = "text_completion"
        choice["text"] = text
    return event({"id": "fake-1", "object": kind, "created": CREATED, "model": model, "choices": [choice]})


DONE = b"data: [DONE]\n\n"
