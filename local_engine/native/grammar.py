"""JSON schemas as llama.cpp grammars. The schema has passed `text.schema.check_schema` before."""

from __future__ import annotations

import json
from typing import Any

from llama_cpp import llama_grammar as _bindings

_translate: Any = _bindings.json_schema_to_gbnf


def grammar_for(schema: object) -> str:
    """Raises ValueError for a schema that the translation does not take after all."""
    try:
        return str(_translate(json.dumps(schema)))
    except (AssertionError, KeyError, TypeError, AttributeError, RecursionError, IndexError) as error:
        raise ValueError(f"the schema cannot be translated to a grammar ({type(error).__name__})") from error
