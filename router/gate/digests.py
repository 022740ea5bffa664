"""Which texts of a request are remembered by keyed digest: each message whole, as a reviewer would hold it."""

from __future__ import annotations

from typing import Any

MOST = 64  # the newest ones


def texts_of(document: dict[str, Any]) -> list[bytes]:
    """Messages of a chat in order, or the prompts or inputs; parts of one message are joined by nothing."""
    found = [_text(message.get("content")) for message in _objects(document.get("messages"))]
    for name in ("prompt", "input"):
        value = document.get(name)
        found += [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]
    return [text.encode() for text in found if text][-MOST:]


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in _objects(content) if isinstance(part.get("text"), str))


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
