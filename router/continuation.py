"""Going on where a stream was cut, at another upstream: what was said so far becomes the beginning of its answer.

Only plain text can be continued (no tools, one choice), and only by software that takes an unfinished answer of the
assistant as the last message: llama.cpp's server does, vLLM when it is told so. Off by default: the second model may go
on in another voice. The stream says so in a comment, the ledger in the decision's reason.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from policies import Backend

PREFILLS: Final = {
    Backend.LLAMA_CPP: {},
    Backend.VLLM: {"continue_final_message": True, "add_generation_prompt": False},
}
PLAIN: Final = frozenset({"role", "content"})


class Spoken:
    """The text of a chat's stream so far, from its events as they pass."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._parts: list[str] = []
        self._plain = not document.get("tools") and document.get("n") in (None, 1) and "messages" in document

    def hear(self, events: bytes) -> None:
        """Whole events. One that holds more than text makes the stream one that cannot be continued."""
        for line in events.split(b"\n"):
            if self._plain and line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
                self._plain = self._take(line[6:])

    def text(self) -> str | None:
        """What was said; None when it cannot be continued."""
        return "".join(self._parts) if self._plain and self._parts else None

    def _take(self, data: bytes) -> bool:
        try:
            choices = msgspec.json.decode(data)["choices"]
            if not choices:
                return True  # usage, by itself
            delta = choices[0]["delta"]
            content = delta.get("content")
            said = {name for name, value in delta.items() if value}
        except (msgspec.MsgspecError, LookupError, TypeError, AttributeError):
            return False
        if isinstance(content, str):
            self._parts.append(content)
        return len(choices) == 1 and said <= PLAIN and choices[0].get("finish_reason") is None


def continued(document: dict[str, Any], text: str, backend: Backend) -> dict[str, Any] | None:
    """The request for the rest; None when this backend cannot go on with an unfinished answer."""
    more = PREFILLS.get(backend)
    if more is None:
        return None
    return {**document, **more, "messages": [*document["messages"], {"role": "assistant", "content": text}]}


def marker(tier: str, upstream: str) -> bytes:
    """The comment that stands in the stream where another upstream went on."""
    return f": cut here, continued by {tier}/{upstream}\n\n".encode()
