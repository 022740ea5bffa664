"""What a request's body may not do: re-aim itself, make a server fetch, or call a hosted tool (never: what it says).

Judged is an already parsed JSON object, so that what was judged is what is sent. Texts that people and models wrote
are not looked into; a text elsewhere that is itself JSON is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from policies.decision import Decision, Reason
from policies.parameters import INLINE, LOCATORS, REFERENCES, is_hosted, is_reaiming

# Texts below these are content, never parameters.
_CONTENT: Final = frozenset(
    {"documents", "input", "messages", "prediction", "prompt", "query", "stop", "suffix", "system", "tools"}
)
# Below these the keys are names that somebody gives: in a schema its author's, in the body the client's.
_SCHEMA_NAMES: Final = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
_BODY_NAMES: Final = frozenset({"chat_template_kwargs", "logit_bias"})
# Below these is data: what a schema compares with; what an earlier answer cited, and what it called a tool with.
_SCHEMA_DATA: Final = frozenset({"const", "default", "enum", "example", "examples"})
_MESSAGE_DATA: Final = frozenset({"annotations", "arguments"})
# Where JSON schemas stand: the end of a path, without positions in lists.
_SCHEMAS: Final = frozenset(
    {
        ("tools", "function", "parameters"),
        ("tools", "input_schema"),
        ("tools", "parameters"),
        ("functions", "parameters"),
        ("response_format", "json_schema", "schema"),
        ("response_format", "schema"),
        ("structured_outputs", "json"),
        ("format",),
        ("guided_json",),
        ("json_schema",),
    }
)
_REFERENCE_KEYS: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
_INLINE_DATA: Final = re.compile(
    r"data:(?:application|audio|image|text|video)/[A-Za-z0-9.+-]+(?:;[a-z]+=[A-Za-z0-9-]+)*;base64,"
)
_BASE64_START: Final = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_SAMPLE: Final = 64  # characters: no scheme is longer
# Keys that mean no harm anywhere: most objects have no others, and are passed at a glance.
_ORDINARY: Final = frozenset(
    {
        "content",
        "frequency_penalty",
        "function",
        "index",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "name",
        "presence_penalty",
        "role",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_call_id",
        "tool_calls",
        "tools",
        "top_p",
    }
)
ALLOWED: Final = Decision(allowed=True, reason=Reason.ALLOWED)


@dataclass(frozen=True, slots=True)
class _Place:
    """A value of the body and how it is to be read."""

    value: Any
    path: tuple[str | int, ...]
    content: bool = False  # its texts are what people wrote
    names: bool = False  # its keys are names of somebody's own
    schema: bool = False  # it is a JSON schema, or inside one


def judge_body(body: dict[str, Any]) -> Decision:
    """Allowed, or refused with the reason and, in `param`, the place of the first thing that may not be."""
    waiting = [_Place(body, ())]
    while waiting:
        place = waiting.pop()
        value = place.value
        if isinstance(value, dict) and not (place.names or _ORDINARY.issuperset(value)):
            refused = next(_refusals(value, place), None)
            if refused is not None:
                return refused
        inside = _inside_object(value, place) if isinstance(value, dict) else _inside_list(value, place)
        waiting.extend(reversed(inside))
    return ALLOWED


def is_cloud_model(name: str) -> bool:
    """Would Ollama send this model's requests to its cloud? (Its own rule: `NAME:cloud` and `NAME:SIZE-cloud`.)"""
    plain = name.strip().lower()
    return plain.rpartition(":")[2] == "cloud" or plain.endswith("-cloud")


def _refusals(table: dict[str, Any], place: _Place) -> Iterator[Decision]:
    """What is wrong with an object's own keys, in their order."""
    for key, value in table.items():
        reason = None if key in _ORDINARY else _judge_key(key, value, place)
        if reason is not None:
            yield Decision(allowed=False, reason=reason, param=_written((*place.path, key)))


def _judge_key(key: str, value: Any, place: _Place) -> Reason | None:
    if key in _REFERENCE_KEYS and not (isinstance(value, str) and value.startswith("#")):
        return Reason.REMOTE_SCHEMA
    if key in LOCATORS or key in INLINE or key in REFERENCES:
        return None if _carries_itself(key, value) else Reason.REMOTE_CONTENT
    if is_hosted(key) or _is_hosted_tool(key, value, place):
        return Reason.HOSTED_TOOL
    if key == "model" and not place.path and isinstance(value, str) and is_cloud_model(value):
        return Reason.CLOUD_MODEL
    return Reason.REAIMING_PARAMETER if is_reaiming(key) else None


def _is_hosted_tool(key: str, value: Any, place: _Place) -> bool:
    """A tool whose type is not `function` is run by the server, somewhere."""
    of_tool = len(place.path) == 2 and place.path[0] == "tools"
    of_choice = place.path == ("tool_choice",)
    return key == "type" and (of_tool or of_choice) and value != "function"


def _carries_itself(key: str, value: Any) -> bool:
    """Is the content inside the request, and nothing to fetch or look up?"""
    if value is None:
        return True
    if key in REFERENCES:
        return False
    if isinstance(value, dict):  # {"url": …} is judged key by key, {"data": …, "format": …} here
        return key not in INLINE or value.get("data") is None or _is_inline(value["data"])
    if key in INLINE:
        return all(map(_is_inline, value)) if isinstance(value, list) else _is_inline(value)
    return isinstance(value, str) and _INLINE_DATA.match(value) is not None


def _is_inline(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    return _INLINE_DATA.match(value) is not None or _BASE64_START.fullmatch(value[:_SAMPLE]) is not None


def _inside_object(table: dict[str, Any], place: _Place) -> list[_Place]:
    """The places inside an object that must be looked at too."""
    found = []
    for key, inner in table.items():
        if isinstance(inner, (dict, list, str)) and not _is_data(key, place):
            child = _child(place, key, inner) if not isinstance(inner, str) else _unwrapped(place, key, inner)
            if child is not None:
                found.append(child)
    return found


def _inside_list(items: list[Any], place: _Place) -> list[_Place]:
    """As `_inside_object`; a list's items are read as the list is."""
    found = []
    for position, inner in enumerate(items):
        value = _parsed(inner) if isinstance(inner, str) and not place.content else inner
        if isinstance(value, (dict, list)):
            found.append(_Place(value, (*place.path, position), place.content, place.names, place.schema))
    return found


def _is_data(key: str, place: _Place) -> bool:
    if place.schema:
        return key in _SCHEMA_DATA and not place.names
    return key in _MESSAGE_DATA and place.path[:1] == ("messages",)


def _child(place: _Place, key: str, inner: Any) -> _Place:
    path = (*place.path, key)
    content = place.content or (not place.path and key in _CONTENT)
    schema = place.schema or tuple(part for part in path if isinstance(part, str)) in _SCHEMAS
    # A name that happens to be `properties` is a name, not a table of names.
    names = not place.names and (key in _SCHEMA_NAMES if place.schema else not place.path and key in _BODY_NAMES)
    return _Place(inner, path, content, names, schema)


def _unwrapped(place: _Place, key: str, text: str) -> _Place | None:
    """The object or list that a text outside of content is the JSON of."""
    if place.content or (not place.path and key in _CONTENT):
        return None
    value = _parsed(text)
    return _child(place, key, value) if value is not None else None


def _parsed(text: str) -> Any:
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _written(path: tuple[str | int, ...]) -> str:
    """The place as OpenAI's errors write it: tools[0].function."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part[:64]}" for part in path)
    return "".join(parts).removeprefix(".")
