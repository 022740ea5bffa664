from __future__ import annotations

from typing import Any

import pytest

from local_engine.text.schema import SchemaRefusal, check_schema


def nested(depth: int) -> dict[str, Any]:
    return {"type": "array", "items": nested(depth - 1)} if depth else {"type": "string"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "integer", "description": "x"}}, "required": ["a"]},
        {"type": "array", "items": {"type": ["string", "null"]}, "minItems": 1, "maxItems": 3},
        {"$ref": "#/$defs/node", "$defs": {"node": {"enum": [1, 2]}}},
        {"anyOf": [{"const": 1}, {"type": "string", "format": "uuid"}]},
        {"type": "object", "additionalProperties": {"type": "number"}},
        {"type": "object", "properties": {}, "additionalProperties": False},
    ],
)
def test_schemas_that_a_grammar_enforces(schema: object) -> None:
    check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ([], "schema must be an object"),
        ({"type": "integer", "minimum": 3}, "schema.minimum"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "schema.properties.a.not"),
        ({"$ref": "https://example.org/s.json"}, "only references within the schema"),
        ({"$ref": 5}, "only references within the schema"),
        ({"$ref": "#/$defs/none"}, "not in the schema"),
        ({"type": "text"}, "schema.type"),
        ({"type": "string", "format": "email"}, "schema.format"),
        ({"type": "object", "properties": []}, "schema.properties must be an object"),
        ({"anyOf": {}}, "schema.anyOf must be an array"),
        ({"oneOf": [{"type": "string"}]}, "schema.oneOf"),
        ({"allOf": [{"type": "string"}]}, "schema.allOf"),
        ({"$ref": "#/$defs/a", "enum": [1], "$defs": {"a": {"type": "null"}}}, "cannot be enforced together"),
        ({"type": ["object", "null"], "properties": {}}, "with type several"),
        ({"type": "integer", "maxLength": 3}, "with type integer"),
        ({"type": "string", "maxLength": 10**9}, "from 0 to"),
        ({"type": "string", "maxLength": True}, "from 0 to"),
        ({"type": "object", "properties": {}, "required": ["a"]}, "not described"),
        ({"type": "array", "minItems": 2}, "need items"),
        ({"type": "array", "items": True}, "items must be an object"),
        ({"type": "string", "pattern": "a+"}, "starts with"),
        ({"type": "string", "pattern": "^a{1,99999}$"}, "repeats more"),
        ({"properties": {"a": {"type": "string"}}}, "with type None"),
        ({"anyOf": [3]}, r"schema.anyOf\[0\] must be an object"),
        (nested(40), "nested deeper"),
        ({"enum": ["x" * 40_000]}, "larger than"),
    ],
)
def test_schemas_that_are_refused_by_name(schema: object, sentence: str) -> None:
    with pytest.raises(SchemaRefusal, match=sentence):
        check_schema(schema)
