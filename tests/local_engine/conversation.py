"""Small words for talking to an engine in tests."""

from __future__ import annotations

import json
from typing import Any

import httpx

QUESTION = "What is 2+2? Explain in a few words."


def chat_body(content: str = QUESTION, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 16, **more}


def chat(client: httpx.Client, content: str = QUESTION, **more: Any) -> Any:
    answer = client.post("/v1/chat/completions", json=chat_body(content, **more))
    assert answer.status_code == 200, answer.text
    return answer.json()


def text_of(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"])


def events_of(raw: str) -> list[Any]:
    """The data of each event; "[DONE]" stays a string. Every event is whole and ends with an empty line."""
    assert raw.endswith("\n\n")
    events = []
    for block in raw.removesuffix("\n\n").split("\n\n"):
        assert block.startswith("data: ")
        data = block.removeprefix("data: ")
        events.append(data if data == "[DONE]" else json.loads(data))
    return events


def streamed_text(events: list[Any], index: int = 0) -> str:
    deltas = [
        choice["delta"].get("content", "")
        for event in events
        if event != "[DONE]"
        for choice in event["choices"]
        if choice["index"] == index
    ]
    return "".join(deltas)
