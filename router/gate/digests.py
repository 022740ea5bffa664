"""Which texts of a request are remembered by keyed digest: each message whole, as a reviewer would hold it."""

from __future__ import annotations

from typing import Any

MOST = 64  # the newest ones


def texts_of(document: dict[str, Any]) -> list[bytes]:
    """Messages of a chat in order, or the prompts or inputs, or a question and the documents to rank by it.

    Parts of one message, and what else a text is wrapped in, are joined by nothing. A picture is a text of its own, as
    its URL brings it (one that would have to be fetched is refused before).
    """
    messages = document.get("messages")
    found: list[object] = []
    if isinstance(messages, list):
        for message in messages:
            content = message.get("content") if isinstance(message, dict) else None
            found += (content,) if isinstance(content, str) else (_joined(content), *_pictures(content))
    for name in ("prompt", "input", "query", "documents"):
        if name in document:
            value = document[name]
            found += map(_bare, value) if isinstance(value, list) else [_bare(value)]
    return [text.encode() for text in found if isinstance(text, str) and text][-MOST:]


def _bare(value: object) -> object:
    """A text that stands in an object, as `{"text": …}` of a document does."""
    return value.get("text") if isinstance(value, dict) else value


def _joined(content: object) -> str:
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _pictures(content: object) -> list[object]:
    parts = [part.get("image_url") for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return [part.get("url") if isinstance(part, dict) else part for part in parts]
