"""JSON schemas as grammars: which can be enforced to the letter, and which are refused by name.

The translation is llama.cpp's, in Python. It ignores keywords that it does not know, and it could be made to read
remote references; so every keyword is checked here first, and only local references pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_SCHEMA = 32 * 1024
MAX_DEPTH = 32
MAX_REPEAT = 2000
"""A bound becomes that many grammar symbols."""
ANNOTATIONS = {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"}
CONTAINERS = {"$schema", "$id", "$defs", "definitions"}
SHAPES: tuple[tuple[set[str], set[str | None]], ...] = (
    ({"$ref"}, {None}),
    ({"anyOf"}, {None}),
    ({"const"}, {None, "string", "number", "integer", "boolean", "null", "object", "array"}),
    ({"enum"}, {None, "string", "number", "integer", "boolean", "null", "object", "array"}),
    ({"properties", "required", "additionalProperties"}, {"object"}),
    ({"items", "minItems", "maxItems"}, {"array"}),
    ({"prefixItems"}, {"array"}),
    ({"minLength", "maxLength"}, {"string"}),
    ({"pattern"}, {"string"}),
    ({"format"}, {"string"}),
)
"""Groups of keywords with the types they may stand beside. The translation honours one group per schema, so two
at once are refused; `oneOf` and `allOf` it would only approximate."""
ENFORCED = {"type"}.union(*(keywords for keywords, _ in SHAPES))
FORMATS = {"uuid", "date", "time", "date-time"}
TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
BOUNDS = ("minItems", "maxItems", "minLength", "maxLength")
NAMED = ("properties", "$defs", "definitions")
LISTED = ("anyOf", "prefixItems")
QUANTIFIER = re.compile(r"\{[^}]*\}")


class SchemaRefusal(ValueError):
    """The schema cannot be enforced; the sentence names the keyword and where it stands."""


def check_schema(schema: object) -> None:
    """Raises SchemaRefusal unless a grammar can enforce every keyword of the schema."""
    if len(json.dumps(schema)) > MAX_SCHEMA:
        raise SchemaRefusal(f"the schema is larger than {MAX_SCHEMA} bytes")
    for place, node in _nodes(schema, "schema", 0):
        _check_keywords(place, node)
        _check_reference(place, node, schema)


def _nodes(node: object, place: str, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every sub-schema with its place."""
    if not isinstance(node, dict):
        raise SchemaRefusal(f"{place} must be an object")
    if depth > MAX_DEPTH:
        raise SchemaRefusal(f"{place} is nested deeper than {MAX_DEPTH} levels")
    yield place, node
    for key, child in _children(node, place):
        yield from _nodes(child, f"{place}.{key}", depth + 1)


def _children(node: dict[str, Any], place: str) -> Iterator[tuple[str, object]]:
    for keyword in NAMED:
        yield from ((f"{keyword}.{name}", child) for name, child in _table(node, keyword, place).items())
    for keyword in LISTED:
        yield from ((f"{keyword}[{index}]", child) for index, child in enumerate(_list(node, keyword, place)))
    if "items" in node:
        yield "items", node["items"]
    if not isinstance(node.get("additionalProperties", True), bool):
        yield "additionalProperties", node["additionalProperties"]


def _table(node: dict[str, Any], keyword: str, place: str) -> dict[str, object]:
    found = node.get(keyword, {})
    if not isinstance(found, dict):
        raise SchemaRefusal(f"{place}.{keyword} must be an object")
    return found


def _list(node: dict[str, Any], keyword: str, place: str) -> list[object]:
    found = node.get(keyword, [])
    if not isinstance(found, list):
        raise SchemaRefusal(f"{place}.{keyword} must be an array")
    return found


def _check_keywords(place: str, node: dict[str, Any]) -> None:
    unknown = sorted(node.keys() - ENFORCED - ANNOTATIONS - CONTAINERS)
    if unknown:
        raise SchemaRefusal(f"{place}.{unknown[0]}: this engine cannot enforce the keyword {unknown[0]!r}")
    kind = node.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    if not all(k in TYPES for k in kinds if kind is not None):
        raise SchemaRefusal(f"{place}.type: must be among {', '.join(sorted(TYPES))}")
    _check_shape(place, node, "several" if isinstance(kind, list) else kind)
    _check_values(place, node)


def _check_shape(place: str, node: dict[str, Any], kind: str | None) -> None:
    shapes = [(node.keys() & keywords, kinds) for keywords, kinds in SHAPES if node.keys() & keywords]
    if len(shapes) > 1:
        names = " and ".join(sorted(min(keywords) for keywords, _ in shapes))
        raise SchemaRefusal(f"{place}: {names} cannot be enforced together")
    for keywords, kinds in shapes:
        if kind not in kinds:
            raise SchemaRefusal(f"{place}.{min(keywords)}: cannot be enforced with type {kind}")
    if not shapes and kind is None and node.keys() - ANNOTATIONS - CONTAINERS:
        raise SchemaRefusal(f"{place}: has no type")


def _check_values(place: str, node: dict[str, Any]) -> None:
    for bound in BOUNDS:
        value = node.get(bound, 0)
        if type(value) is not int or not 0 <= value <= MAX_REPEAT:
            raise SchemaRefusal(f"{place}.{bound}: must be an integer from 0 to {MAX_REPEAT}")
    if "format" in node and node["format"] not in FORMATS:
        raise SchemaRefusal(f"{place}.format: only {', '.join(sorted(FORMATS))} can be enforced")
    if not set(node.get("required", ())) <= set(node.get("properties", ())):
        raise SchemaRefusal(f"{place}.required: names a property that is not described")
    if {"minItems", "maxItems"} & node.keys() and "items" not in node:
        raise SchemaRefusal(f"{place}: minItems and maxItems need items")
    _check_pattern(place, node.get("pattern", "^$"))


def _check_pattern(place: str, pattern: object) -> None:
    if not isinstance(pattern, str) or not (pattern.startswith("^") and pattern.endswith("$")):
        raise SchemaRefusal(f"{place}.pattern: must be a string that starts with ^ and ends with $")
    numbers = (int(digits) for found in QUANTIFIER.findall(pattern) for digits in re.findall(r"\d{1,9}", found))
    if max(numbers, default=0) > MAX_REPEAT:
        raise SchemaRefusal(f"{place}.pattern: repeats more than {MAX_REPEAT} times")


def _check_reference(place: str, node: dict[str, Any], root: object) -> None:
    """Only `#/…` within the same schema: nothing is ever fetched."""
    reference = node.get("$ref")
    if reference is None:
        return
    if not isinstance(reference, str) or not reference.startswith("#/"):
        raise SchemaRefusal(f"{place}.$ref: only references within the schema (#/…) are followed")
    target = root
    for step in reference.split("/")[1:]:
        if not isinstance(target, dict) or step not in target:
            raise SchemaRefusal(f"{place}.$ref: {reference} is not in the schema")
        target = target[step]
