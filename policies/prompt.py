"""Facts about a prompt for the rules of `auto` models: sizes, kinds, shares. Texts go in, none comes out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

from policies.language import OTHER, language_of

_TOKEN_CHARACTERS: Final = 4  # a prompt given as tokens counts as so many characters each
_LONGEST_LINE: Final = 400  # characters: what it is shows by then
_FENCE: Final = re.compile(r"^\s*(?:```|~~~)")
_CODE_LINE: Final = re.compile(
    r"[;{}]\s*$|^\s*(?:#include|#!|//|/\*|@\w|</?\w[^>]*>)"
    r"|^\s*(?:(?:async )?def|class|import|from \S+ import|return|if|for|while|elif|fn|func|function|const|let|var|"
    r"public|private|static|struct|impl|package|use|SELECT|INSERT|UPDATE|CREATE)\b.*[:;({,)]\s*$"
    r"|^\s*[\w.\[\]]+(?:\([^)]*\))?\s*(?:[-+*/|&]?=|:=|->)\s*\S|^\s*[\w.]+\(.*\)\s*$"
)
_TEXTS: Final = ("prompt", "input", "query", "documents")  # where a request without messages has its texts
_IMAGES: Final = frozenset({"image", "image_url", "input_image"})


class PromptFacts(Struct, frozen=True):
    """What a rule may ask of a prompt."""

    characters: int = 0  # of all its texts
    messages: int = 0
    images: int = 0
    tools: int = 0  # functions that it offers
    answer_tokens: int | None = None  # the longest answer that is asked for; None: not said
    code_share: float = 0.0  # lines of the newest message that are code, from 0 to 1
    language: str = OTHER  # of the newest message of the user


def prompt_facts(body: dict[str, Any]) -> PromptFacts:
    """Of a parsed request of any endpoint. What is not shaped as it should be counts as not there."""
    messages = _list(body.get("messages"))
    texts = [text for message in messages for text in _texts(_content(message))]
    if not messages:
        texts = [text for name in _TEXTS for text in _texts(body.get(name))]
    newest = _newest(messages, texts)
    return PromptFacts(
        characters=sum(map(len, texts)) + _TOKEN_CHARACTERS * sum(_tokens(body.get(name)) for name in _TEXTS),
        messages=len(messages),
        images=sum(1 for message in messages for part in _list(_content(message)) if _is_image(part)),
        tools=len(_list(body.get("tools")) or _list(body.get("functions"))),
        answer_tokens=_whole(body.get("max_completion_tokens"), body.get("max_tokens")),
        code_share=code_share(newest),
        language=language_of(newest),
    )


def code_share(text: str) -> float:
    """Which part of the lines that are not empty is code: inside a fence, or looking like a statement."""
    lines = code = 0
    fenced = False
    for line in text.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        elif line.strip():
            lines += 1
            code += fenced or _CODE_LINE.search(line[:_LONGEST_LINE]) is not None
    return code / lines if lines else 0.0


def _newest(messages: list[Any], texts: list[str]) -> str:
    """The text of the user's last message; without messages, all of it."""
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            return "\n".join(_texts(message.get("content")))
    return "\n".join(texts)


def _content(message: Any) -> Any:
    return message.get("content") if isinstance(message, dict) else None


def _texts(content: Any) -> Iterator[str]:
    """The texts of a content: a text itself, or a list of texts and of parts with one."""
    if isinstance(content, str):
        yield content
    for part in _list(content):
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            yield text


def _tokens(content: Any) -> int:
    """How many tokens a prompt holds that is given as numbers, or as lists of them."""
    parts = _list(content)
    return sum(isinstance(part, int) for part in parts) + sum(len(part) for part in parts if isinstance(part, list))


def _is_image(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("type"), str) and part["type"] in _IMAGES


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _whole(*values: Any) -> int | None:
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)
