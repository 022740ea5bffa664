"""Names that another parser reads as other names: Go's encoding/json folds case, and the last of two names wins.

Source: https://pkg.go.dev/encoding/json#Unmarshal ("preferring an exact match but also accepting a case-insensitive
match"). Folding is Unicode's, so that `ſ` (U+017F) is an s and the Kelvin sign (U+212A) a k.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from policies.parameters import HOSTED, INLINE, LOCATORS, REAIMING, REFERENCES

_PARAMETERS: Final = frozenset(
    [
        "$defs",
        "$dynamicRef",
        "$recursiveRef",
        "$ref",
        "annotations",
        "arguments",
        "cache_prompt",
        "chat_template",
        "chat_template_kwargs",
        "content",
        "data",
        "definitions",
        "dependentSchemas",
        "detail",
        "documents",
        "echo",
        "encoding_format",
        "file",
        "filename",
        "format",
        "frequency_penalty",
        "function",
        "function_call",
        "functions",
        "grammar",
        "guided_json",
        "index",
        "input",
        "input_schema",
        "instructions",
        "json",
        "json_schema",
        "keep_alive",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "message",
        "messages",
        "metadata",
        "model",
        "n",
        "name",
        "options",
        "parallel_tool_calls",
        "parameters",
        "patternProperties",
        "prediction",
        "presence_penalty",
        "prompt",
        "properties",
        "query",
        "reasoning_effort",
        "response_format",
        "role",
        "schema",
        "seed",
        "source",
        "stop",
        "store",
        "stream",
        "stream_options",
        "structured_outputs",
        "suffix",
        "system",
        "temperature",
        "template",
        "text",
        "tool_call_id",
        "tool_calls",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "type",
        "user",
    ]
)
_KNOWN: Final = _PARAMETERS | REAIMING | HOSTED | LOCATORS | INLINE | REFERENCES
_FOLDED: Final = frozenset(name.casefold() for name in _KNOWN)


def is_misspelling(name: str) -> bool:
    """Is it no known parameter's name, but one to a parser that folds case?"""
    return name not in _KNOWN and name.casefold() in _FOLDED


def first_alike(names: Iterable[str]) -> str | None:
    """The first name that, but for case, stood there before."""
    seen: set[str] = set()
    for name in names:
        folded = name.casefold()
        if folded in seen:
            return name
        seen.add(folded)
    return None
