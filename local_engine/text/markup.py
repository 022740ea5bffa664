"""What a model wraps in tags: its reasoning, and its calls of tools. Read from the stream, piece by piece.

The tags are those of Qwen, DeepSeek, Hermes and their kin: `<think>` … `</think>` before the answer, and
`<tool_call>{"name": …, "arguments": {…}}</tool_call>` anywhere in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

THINK, THOUGHT = "<think>", "</think>"
CALL, CALLED = "<tool_call>", "</tool_call>"
TAGS = (THINK, THOUGHT, CALL, CALLED)


@dataclass(frozen=True, slots=True)
class Markup:
    """What to look for in one answer. `inside`: the prompt itself has opened the reasoning."""

    thinks: bool = False
    inside: bool = False
    tools: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    kind: Literal["content", "reasoning_content"]
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """`arguments` is the JSON text of an object."""

    name: str
    arguments: str


class MarkupReader:
    """Feed it text; it releases what is certain. A call that is no valid JSON is released as the text it is."""

    def __init__(self, markup: Markup) -> None:
        self._markup = markup
        self._state: Literal["content", "reasoning", "call"] = "reasoning" if markup.inside else "content"
        self._held = ""
        self._fresh = True  # nothing but space was said since the start, the reasoning, or a call
        self._thinkable = markup.thinks and not markup.inside

    def feed(self, text: str) -> list[Said | Call]:
        self._held += text
        found: list[Said | Call] = []
        while (tag := self._next_tag()) is not None:
            before, _, self._held = self._held.partition(tag)
            found += self._close(before, tag) if self._state == "call" else self._say(before)
            self._enter(tag)
        if self._state != "call":
            certain = len(self._held) - self._doubtful()
            found += self._say(self._held[:certain])
            self._held = self._held[certain:]
        return found

    def finish(self) -> list[Said | Call]:
        """What was held back. A call without its closing tag counts when it is whole (a stop string took the tag)."""
        rest, self._held = self._held, ""
        return self._close(rest, "") if self._state == "call" else self._say(rest)

    def _tags(self) -> tuple[str, ...]:
        if self._state == "reasoning":
            return (THOUGHT,)
        if self._state == "call":
            return (CALLED,)
        return ((THINK,) if self._thinkable and self._fresh else ()) + ((CALL,) if self._markup.tools else ())

    def _next_tag(self) -> str | None:
        """The first tag in what is held. Reasoning counts only before anything else was said."""
        places = [(place, tag) for tag in self._tags() if (place := self._held.find(tag)) >= 0]
        return min(
            (found for found in places if found[1] != THINK or not self._held[: found[0]].strip()), default=(0, None)
        )[1]

    def _enter(self, tag: str) -> None:
        self._state = "reasoning" if tag == THINK else "call" if tag == CALL else "content"
        self._thinkable = False
        self._fresh = True

    def _say(self, text: str) -> list[Said | Call]:
        text = text.lstrip() if self._fresh else text
        if not text:
            return []
        self._fresh = False
        return [Said("reasoning_content" if self._state == "reasoning" else "content", text)]

    def _close(self, text: str, tag: str) -> list[Said | Call]:
        return [_read(text) or Said("content", f"{CALL}{text}{tag}")]

    def _doubtful(self) -> int:
        """Length of the longest tail that may be the beginning of a tag."""
        tags = self._tags()
        for length in range(min(max(map(len, TAGS)) - 1, len(self._held)), 0, -1):
            if any(tag.startswith(self._held[-length:]) for tag in tags):
                return length
        return 0


def _read(text: str) -> Call | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return None
    arguments = found.get("arguments", {})
    if isinstance(arguments, str):
        return Call(found["name"], arguments)
    return Call(found["name"], json.dumps(arguments, ensure_ascii=False)) if isinstance(arguments, dict) else None
