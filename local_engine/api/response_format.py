"""`response_format`: to a grammar, or refused."""

from __future__ import annotations

from local_engine.api.errors import ApiError, invalid
from local_engine.api.fields import Fields
from local_engine.jobs import Loaded
from local_engine.text.schema import SchemaRefusal, check_schema

ANY_OBJECT: dict[str, object] = {"type": "object"}


def read_grammar(fields: Fields, loaded: Loaded) -> str | None:
    """The grammar that the answer must obey; None for free text."""
    wanted = fields.fields("response_format")
    if wanted is None:
        return None
    kind = wanted.text("type")
    schema = _schema(wanted) if kind == "json_schema" else ANY_OBJECT
    wanted.finish()
    if kind == "text":
        return None
    if kind not in ("json_object", "json_schema"):
        raise invalid("response_format.type", "response_format.type must be text, json_object or json_schema.")
    try:
        check_schema(schema)
        return loaded.grammar(schema)
    except SchemaRefusal as refusal:
        raise _refused(str(refusal)) from None
    except ValueError as error:
        raise _refused(str(error)) from error


def _schema(wanted: Fields) -> object:
    described = wanted.fields("json_schema")
    if described is None:
        raise _refused("response_format.json_schema is missing")
    described.labels("name", "description", "strict")
    schema = described.take("schema")
    described.finish()
    return ANY_OBJECT if schema is None else schema


def _refused(message: str) -> ApiError:
    return invalid("response_format", f"response_format: {message}.", "invalid_schema")
