"""What a request's body may not do: re-aim itself, make a server fetch, or call a hosted tool (never: what it says).

Judged is an already parsed JSON object, so that what was judged is what is sent. Texts that people and models wrote
are not looked into; a text elsewhere that is itself JSON is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from policies.decision import Decision, Reason
from policies.nested_text import NAME, PLACE, Allowance, TextRefusedError, may_be_json, parsed
from policies.parameters import INLINE, LOCATORS, REFERENCES, is_cloud_model, is_hosted, is_reaiming
from policies.spelling import first_alike, is_misspelling

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
_LONGEST_TRAIL: Final = 4  # names: one more than the longest of these
_DEEPEST_TEXT: Final = 64  # levels of JSON inside texts, all together
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
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "n",
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
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
    }
)
_PLAIN: Final = _ORDINARY | {"model"}  # of which only a value can be wrong
_FEW: Final = 5_000  # messages: with plain names only they cannot be too much to look at
_CONTAINERS: Final = frozenset({dict, list})  # as JSON is decoded: no subclasses
ALLOWED: Final = Decision(allowed=True, reason=Reason.ALLOWED)


class _Place(NamedTuple):
    """A value of the body and how it is to be read. Where it is, is a chain of parents: copied paths cost too much."""

    value: Any
    parent: _Place | None = None
    key: str | int = ""
    depth: int = 0  # levels below the body
    trail: tuple[str, ...] = ()  # the first names of the path, without positions in lists
    text_depth: int = 0  # levels below the outermost text that it was parsed from; 0 outside of texts
    content: bool = False  # its texts are what people wrote
    names: bool = False  # its keys are names of somebody's own
    schema: bool = False  # it is a JSON schema, or inside one


class _RefusedError(Exception):
    """The judgement ends here: why, and where."""

    def __init__(self, reason: Reason, place: _Place, key: str | int | None = None) -> None:
        super().__init__(reason)
        self.decision = Decision(allowed=False, reason=reason, param=_written(place, key))


def judge_body(body: dict[str, Any]) -> Decision:
    """Allowed, or refused with the reason and, in `param`, the place of the first thing that may not be."""
    if _is_plain_request(body):
        return ALLOWED
    try:
        _judge(_Place(body))
    except _RefusedError as refused:
        return refused.decision
    return ALLOWED


def _is_plain_request(body: dict[str, Any]) -> bool:
    """Plain names, plain messages, no text that may be JSON: what most requests are, and what the judge allows."""
    if not _PLAIN.issuperset(body) or _names_cloud(body.get("model")):
        return False
    for key, value in body.items():
        if type(value) is str:
            if key not in _CONTENT and may_be_json(value):
                return False
        elif type(value) in _CONTAINERS and not (key == "messages" and _are_plain(value)):
            return False
    return True


def _are_plain(messages: Any) -> bool:
    if type(messages) is not list or len(messages) > _FEW:
        return False
    for message in messages:  # noqa: SIM110 - a generator costs more than what it asks
        if type(message) is not dict or not _is_plain(message):
            return False
    return True


def _judge(whole: _Place) -> None:
    waiting = [whole]
    allowance = Allowance()
    while waiting:
        place = waiting.pop()
        value = place.value
        if not place.text_depth and not allowance.takes(len(value) + PLACE):  # what a text holds was counted with it
            raise _RefusedError(Reason.TOO_COMPLEX, place)
        is_table = isinstance(value, dict)
        if is_table and not place.names:
            _judge_names(value, place, allowance)
        inside = _inside_object if is_table else _inside_list
        found = list(inside(value, place, allowance))
        found.reverse()
        waiting += found


def _judge_names(table: dict[str, Any], place: _Place, allowance: Allowance) -> None:
    """Most objects have plain names only, which are told apart by any parser: they are passed at a glance."""
    if not _PLAIN.issuperset(table):
        if not allowance.takes(NAME * len(table)):
            raise _RefusedError(Reason.TOO_COMPLEX, place)
        _judge_table(table, place)
    elif not place.depth and _names_cloud(table.get("model")):
        raise _RefusedError(Reason.CLOUD_MODEL, place, "model")


def _is_plain(item: dict[str, Any]) -> bool:
    """Nothing in it needs a look where texts are content: plain names, and neither objects nor lists."""
    if not _ORDINARY.issuperset(item):
        return False
    return _CONTAINERS.isdisjoint(map(type, item.values()))


def _judge_table(table: dict[str, Any], place: _Place) -> None:
    """Refuse what is wrong with an object's own keys, the first in their order."""
    for key, value in table.items():
        reason = None if key in _ORDINARY else _judge_key(key, value, place)
        if reason is not None:
            raise _RefusedError(reason, place, key)
    alike = first_alike(table)
    if alike is not None:
        raise _RefusedError(Reason.AMBIGUOUS_NAME, place, alike)


def _judge_key(key: str, value: Any, place: _Place) -> Reason | None:
    if key in _REFERENCE_KEYS and not (isinstance(value, str) and value.startswith("#")):
        return Reason.REMOTE_SCHEMA
    if key in LOCATORS or key in INLINE or key in REFERENCES:
        return None if _carries_itself(key, value) else Reason.REMOTE_CONTENT
    if is_hosted(key) or _is_hosted_tool(key, value, place):
        return Reason.HOSTED_TOOL
    if key == "model" and not place.depth and _names_cloud(value):
        return Reason.CLOUD_MODEL
    if is_reaiming(key):
        return Reason.REAIMING_PARAMETER
    return Reason.AMBIGUOUS_NAME if is_misspelling(key) else None


def _names_cloud(model: Any) -> bool:
    return isinstance(model, str) and is_cloud_model(model)


def _is_hosted_tool(key: str, value: Any, place: _Place) -> bool:
    """A tool whose type is not `function` is run by the server, somewhere."""
    if key != "type" or value == "function":
        return False
    of_tool = place.depth == 2 and place.trail[:1] == ("tools",)
    return of_tool or (place.depth == 1 and place.trail == ("tool_choice",))


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


def _inside_object(table: dict[str, Any], place: _Place, allowance: Allowance) -> Iterator[_Place]:
    """The places inside an object that must be looked at too."""
    for key, inner in table.items():
        if not isinstance(inner, (dict, list, str)) or _is_data(key, place):
            continue
        content = place.content or (not place.depth and key in _CONTENT)
        if isinstance(inner, str) and (content or not may_be_json(inner)):
            continue
        value, text_depth = _opened(inner, key, place, allowance)
        if isinstance(value, (dict, list)):
            yield _child(place, key, value, text_depth, content=content)


def _inside_list(items: list[Any], place: _Place, allowance: Allowance) -> Iterator[_Place]:
    """As `_inside_object`; a list's items are read as the list is."""
    content, depth = place.content, place.depth + 1
    glance = content and not place.text_depth
    for position, inner in enumerate(items):
        if not isinstance(inner, (dict, list, str)):
            continue
        if isinstance(inner, str) and (content or not may_be_json(inner)):
            continue
        if glance and isinstance(inner, dict) and _is_plain(inner) and allowance.takes(len(inner) + 1):
            continue
        value, text_depth = _opened(inner, position, place, allowance)
        if isinstance(value, (dict, list)):
            yield _Place(value, place, position, depth, place.trail, text_depth, content, place.names, place.schema)


def _opened(inner: Any, key: str | int, place: _Place, allowance: Allowance) -> tuple[Any, int]:
    """The value itself, or what a text is the JSON of; and how deep in texts it stands."""
    text_depth = place.text_depth + 1 if place.text_depth else 0
    if isinstance(inner, str):
        text_depth = text_depth or 1
        try:
            inner = parsed(inner, allowance)
        except TextRefusedError as refused:
            raise _RefusedError(refused.reason, place, key) from None
    if text_depth > _DEEPEST_TEXT and isinstance(inner, (dict, list)):
        raise _RefusedError(Reason.TOO_COMPLEX, place, key)
    return inner, text_depth


def _is_data(key: str, place: _Place) -> bool:
    if place.schema:
        return key in _SCHEMA_DATA and not place.names
    return key in _MESSAGE_DATA and place.trail[:1] == ("messages",)


def _child(place: _Place, key: str, inner: Any, text_depth: int, *, content: bool) -> _Place:
    trail = (*place.trail, key) if len(place.trail) < _LONGEST_TRAIL else place.trail
    schema = place.schema or trail in _SCHEMAS
    # A name that happens to be `properties` is a name, not a table of names.
    names = not place.names and (key in _SCHEMA_NAMES if place.schema else not place.depth and key in _BODY_NAMES)
    return _Place(inner, place, key, place.depth + 1, trail, text_depth, content, names, schema)


def _written(place: _Place, key: str | int | None) -> str:
    """The place as OpenAI's errors write it: tools[0].function."""
    path = [] if key is None else [key]
    at: _Place | None = place
    while at is not None and at.parent is not None:
        path.append(at.key)
        at = at.parent
    parts = (f"[{part}]" if isinstance(part, int) else f".{part[:64]}" for part in reversed(path))
    return "".join(parts).removeprefix(".")
