"""A tree read as its shape: the values as they are meant, or every mistake, each with its place.

The shapes are structs of annotated types (`Strict`); of a file only the parts that occur in it are looked at.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Generic, Literal, TypeVar, Union, get_args, get_origin

from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import FieldInfo, fields

from router.settings.findings import Path
from router.settings.strict import Before, Strict

Shape = TypeVar("Shape", bound=Strict)


class Kind(Enum):
    UNKNOWN = "unknown"  # a key that its shape does not have
    MISSING = "missing"  # a key that its shape must have
    VALUE = "value"  # anything else


class Mistake(Struct, frozen=True):
    """What is wrong at one place. `known`: the keys there, where one is unknown."""

    path: Path
    kind: Kind
    sentence: str = ""
    known: tuple[str, ...] = ()


class Reading(Struct, Generic[Shape], frozen=True):
    """`value` is None exactly when there are mistakes."""

    value: Shape | None
    mistakes: tuple[Mistake, ...] = ()


Read = Callable[
    [Any, Path, list[Mistake]], Any
]  # the value as it is meant; None for a mistake, which is then in the list


class Key(Struct, frozen=True):
    """One key of a shape: as it is written in files, and as the attribute is called."""

    name: str
    attribute: str
    annotation: Any
    default: Any  # NODEFAULT: it must be written
    meta: Meta  # of the whole value
    read: Read

    @property
    def is_time(self) -> bool:
        """Whether it is written with a unit."""
        bare, said = bare_type(self.annotation)
        inner, more = bare_type(without_none(bare)[0])
        return inner is float and any(isinstance(one, Before) for one in (*said, *more))


def read(shape: type[Shape], tree: object) -> Reading[Shape]:
    """Keys in the order of the shape, then those that it does not know, in the order in which they were written."""
    mistakes: list[Mistake] = []
    value = _struct(shape)(tree, (), mistakes)
    return Reading(None, tuple(mistakes)) if mistakes else Reading(value)


@cache
def keys_of(shape: type[Strict]) -> Mapping[str, Key]:
    """By their names in files, in the order in which the shape tells them."""
    return {field.encode_name: _key(field) for field in fields(shape) if field.name != "written"}


def bare_type(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without what is said of it, and that."""
    if get_origin(annotation) is Annotated:
        bare, *said = get_args(annotation)
        return bare, tuple(said)
    return annotation, ()


def without_none(annotation: Any) -> tuple[Any, bool]:
    """A type without `| None`, and whether that was there."""
    if get_origin(annotation) in (Union, UnionType):
        choices = [choice for choice in get_args(annotation) if choice is not NoneType]
        return choices[0], True
    return annotation, False


def _key(field: FieldInfo) -> Key:
    meta = next((one for one in bare_type(field.type)[1][::-1] if isinstance(one, Meta)), Meta())
    default = field.default_factory() if field.default_factory is not NODEFAULT else field.default
    return Key(field.encode_name, field.name, field.type, default, meta, _reader(field.type))


def _reader(annotation: Any) -> Read:
    """Who reads a value of this type."""
    bare, said = bare_type(annotation)
    bare, may_be_none = without_none(bare)
    reader = _plain(bare) if get_origin(bare) is not Annotated else _reader(bare)
    for one in said:
        if isinstance(one, Meta):
            reader = _bounded(reader, one)
    for one in said:
        if isinstance(one, Before):
            reader = _prepared(reader, one.read)
    return _unless_none(reader) if may_be_none else reader


def _plain(bare: Any) -> Read:
    origin = get_origin(bare)
    if origin is tuple:
        return _list(_reader(get_args(bare)[0]))
    if origin is dict:
        return _table(_reader(get_args(bare)[1]))
    if origin is Literal:
        return _word(get_args(bare))
    return _struct(bare) if issubclass(bare, Strict) else _SCALARS[bare]


def _struct(shape: type[Strict]) -> Read:
    def reader(value: Any, path: Path, mistakes: list[Mistake]) -> Any:
        if not isinstance(value, dict):
            return _wrong("must hold keys and values", path, mistakes)
        before = len(mistakes)
        known = keys_of(shape)
        found: dict[str, Any] = {}
        for key in known.values():
            if key.name in value:
                found[key.attribute] = key.read(value[key.name], (*path, key.name), mistakes)
            elif key.default is NODEFAULT:
                mistakes.append(Mistake((*path, key.name), Kind.MISSING))
        unknown = [name for name in value if name not in known]
        mistakes += [Mistake((*path, name), Kind.UNKNOWN, known=tuple(known)) for name in unknown]
        return None if len(mistakes) > before else shape(**found, written=frozenset(found))

    return reader


def _list(item: Read) -> Read:
    def reader(value: Any, path: Path, mistakes: list[Mistake]) -> Any:
        if type(value) is not tuple:
            return _wrong("must be a list: [a, b]", path, mistakes)
        return tuple(item(one, (*path, position), mistakes) for position, one in enumerate(value))

    return reader


def _table(item: Read) -> Read:
    def reader(value: Any, path: Path, mistakes: list[Mistake]) -> Any:
        if type(value) is not dict:
            return _wrong("must hold keys and values", path, mistakes)
        return {name: item(one, (*path, name), mistakes) for name, one in value.items()}

    return reader


def _word(choices: tuple[Any, ...]) -> Read:
    """One of these, and nothing that merely equals it: True is not 1."""
    shown = [repr(choice) for choice in choices]
    sentence = f"must be {' or '.join(filter(None, (', '.join(shown[:-1]), shown[-1])))}"

    def reader(value: Any, path: Path, mistakes: list[Mistake]) -> Any:
        if any(type(value) is type(choice) and value == choice for choice in choices):
            return value
        return _wrong(sentence, path, mistakes)

    return reader


def _text(value: Any, path: Path, mistakes: list[Mistake]) -> Any:
    if type(value) is not str:
        return _wrong("must be text (put it in quotes)", path, mistakes)
    try:
        value.encode()
    except UnicodeEncodeError:  # of an environment variable's bytes
        return _wrong("must be text in UTF-8", path, mistakes)
    return value


def _whole(value: Any, path: Path, mistakes: list[Mistake]) -> Any:
    return value if type(value) is int else _wrong("must be a whole number", path, mistakes)


def _number(value: Any, path: Path, mistakes: list[Mistake]) -> Any:
    return float(value) if type(value) in (int, float) else _wrong("must be a number", path, mistakes)


def _truth(value: Any, path: Path, mistakes: list[Mistake]) -> Any:
    return value if type(value) is bool else _wrong("must be true or false", path, mistakes)


_SCALARS: Final[Mapping[type, Read]] = {str: _text, int: _whole, float: _number, bool: _truth}


def _unless_none(inner: Read) -> Read:
    def reader(value: Any, path: Path, mistakes: list[Mistake]) -> Any:
        return None if value is None else inner(value, path, mistakes)

    return reader


def _prepared(inner: Read, before: Callable[[Any], Any]) -> Read:
    def reader(value: Any, path: Path, mistakes: list[Mistake]) -> Any:
        try:
            meant = before(value)
        except ValueError as error:
            return _wrong(str(error), path, mistakes)
        return inner(meant, path, mistakes)

    return reader


def _bounded(inner: Read, meta: Meta) -> Read:
    """What must hold of a value beyond its type; the first that does not is told."""
    limits = [(*_LIMITS[name], limit) for name in _LIMITS if (limit := getattr(meta, name)) is not None]
    if not limits:
        return inner

    def reader(value: Any, path: Path, mistakes: list[Mistake]) -> Any:
        found = inner(value, path, mistakes)
        for holds, sentence, limit in limits:
            if found is not None and not holds(found, limit):
                shown = float(limit) if isinstance(found, float) else limit
                return _wrong(sentence.format(shown), path, mistakes)
        return found

    return reader


_LIMITS: Final[Mapping[str, tuple[Callable[[Any, Any], object], str]]] = {  # by their names in `Meta`
    "le": (operator.le, "must be at most {}"),
    "lt": (operator.lt, "must be less than {}"),
    "ge": (operator.ge, "must be at least {}"),
    "gt": (operator.gt, "must be more than {}"),
    "min_length": (lambda value, limit: len(value) >= limit, "needs at least {} item(s)"),
    "pattern": (lambda value, limit: re.fullmatch(limit, value), "must have the form {}"),
}


def _wrong(sentence: str, path: Path, mistakes: list[Mistake]) -> None:
    mistakes.append(Mistake(path, Kind.VALUE, sentence))
