"""A tree against its shape: pydantic judges, the findings speak to the operator and point at the nearest known key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from router.settings.findings import Path, Report

Shape = TypeVar("Shape", bound=BaseModel)
MOST: Final = 100  # mistakes told of one file: each costs a look for the nearest known key


def validate(shape: type[Shape], tree: Any, report: Report) -> Shape | None:
    """The tree as an instance of its shape; None, with every mistake reported, when it has another."""
    if not isinstance(tree, dict):
        report.add((), "the file must hold keys and values at its top", "begin with 'version: 1'")
        return None
    try:
        return shape.model_validate(tree)
    except ValidationError as error:
        found = error.errors(include_url=False)
        if len(found) > MOST:
            report.add((), f"{len(found)} mistakes, of which {MOST} are told here", "is this the file that is meant?")
        for details in found[:MOST]:
            _report(shape, details, report)
        return None


def nearest(word: str, known: list[str], otherwise: str = "") -> str:
    """The hint for a name that does not exist."""
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return otherwise or (f"known: {', '.join(sorted(known)[:12])}" if known else "")


def _report(shape: type[BaseModel], details: ErrorDetails, report: Report) -> None:
    path: Path = tuple(details["loc"])
    if details["type"] == "extra_forbidden":
        known = _keys_at(shape, path[:-1])
        report.add(path, "unknown key", nearest(str(path[-1]), known, f"known here: {', '.join(known)}"))
    elif details["type"] == "missing":
        report.add(path[:-1], f"the key '{path[-1]}' is missing")
    else:
        report.add(path, _sentence(details))


def _sentence(details: ErrorDetails) -> str:
    speak = _SENTENCES.get(details["type"])
    context: Mapping[str, Any] = details.get("ctx", {})
    return speak(context) if speak is not None else f"{details['msg'][:1].lower()}{details['msg'][1:]}"


_SENTENCES: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "string_type": lambda _: "must be text (put it in quotes)",
    "int_type": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "bool_type": lambda _: "must be true or false",
    "tuple_type": lambda _: "must be a list: [a, b]",
    "dict_type": lambda _: "must hold keys and values",
    "model_type": lambda _: "must hold keys and values",
    "literal_error": lambda context: f"must be {context['expected']}",
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "greater_than": lambda context: f"must be more than {context['gt']}",
    "less_than_equal": lambda context: f"must be at most {context['le']}",
    "too_short": lambda context: f"needs at least {context['min_length']} item(s)",
    "string_pattern_mismatch": lambda context: f"must have the form {context['pattern']}",
    "value_error": lambda context: str(context["error"]),
}


def _keys_at(shape: type[BaseModel], path: Path) -> list[str]:
    """The keys that are known at this place of the shape."""
    current: Any = shape
    for part in path:
        if isinstance(current, type) and issubclass(current, BaseModel):
            current = _bare(current.model_fields[str(part)].annotation)
        else:  # a mapping's or list's item: its value type
            current = _bare([item for item in get_args(current) if item is not Ellipsis][-1])
    return [field.alias or name for name, field in current.model_fields.items()]


def _bare(annotation: Any) -> Any:
    """The annotation without `| None`."""
    if get_origin(annotation) in (dict, tuple):
        return annotation
    choices = [choice for choice in get_args(annotation) if choice is not type(None)]
    return choices[0] if choices else annotation
