"""What a record's line says: parsed one by one and exactly, or many lines at once where all are as usual."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias


class Fields(Protocol):
    """A record's body: what a dict of its members offers."""

    def get(self, name: str, default: Any = None, /) -> Any: ...
    def keys(self) -> Iterable[str]: ...
    def items(self) -> Iterable[tuple[str, Any]]: ...
    def __getitem__(self, name: str, /) -> Any: ...
    def __contains__(self, name: object, /) -> bool: ...


class Row(NamedTuple):
    """All members of one line."""

    v: int
    log: str
    epoch: int
    i: int
    prev: str
    t: int
    mono: int
    kind: str
    body: dict[str, Any]
    mac: str


class Columns(NamedTuple):
    """Times, monotonic times, kinds and bodies of lines that follow each other."""

    times: list[int]
    monos: list[int]
    kinds: Sequence[str]
    bodies: Sequence[Fields]
    ends: Sequence[Any]  # what each outcome among them names as its decision
    formed: bool = False  # every body is known to have the members that its kind must have, of the right types
    sealed: bool = True  # a body may name a sealed text


Read: TypeAlias = Callable[[Sequence[bytes]], Columns]


class Codec(NamedTuple):
    """How many lines are parsed at once; the CLI brings a faster one. `columns` is given what lies between the heads
    and the MACs (`"t":…,"mono":…,"kind":…,"body":{…}`, without line feeds) and vouches for its one spelling: written
    again, it gives the same bytes. ValueError, RecursionError: it cannot.
    """

    columns: Read


_TYPES: Final = (int, str, int, int, str, int, int, str, dict, str)
_MEMBERS: Final = ("t", "mono", "kind", "body")
_MEMBER_TYPES: Final = (int, int, str, dict)
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
CAPTURE: Final = '"capture":'  # how a member that names a sealed text is spelled
_DECODER: Final = json.JSONDecoder()


def parse_line(line: bytes) -> Row:
    """One whole line (without its line feed); ValueError or RecursionError if it is not in its one spelling."""
    fields = json.loads(line.decode())
    if type(fields) is not dict or tuple(fields) != Row._fields or _ENCODER.encode(fields).encode() != line:
        raise ValueError("not in its one spelling")
    row = Row(*fields.values())
    if tuple(map(type, row)) != _TYPES:
        raise ValueError("a member of another type")
    return row


def ends_of(kinds: Iterable[str], bodies: Iterable[Fields]) -> list[Any]:
    """The decisions that these records end, as far as they say."""
    return [body.get("decision") for kind, body in zip(kinds, bodies, strict=True) if kind == "outcome"]


def _columns(inners: Sequence[bytes]) -> Columns:
    """Each begins with an object that is parsed for itself; all are written at once. No object's text is the beginning
    of another's, so the texts are equal only if each is its object's and nothing more.
    """
    texts = ["{" + inner.decode() + "}" for inner in inners]
    found, joined = [_DECODER.raw_decode(text)[0] for text in texts], ",".join(texts)
    if _ENCODER.encode(found) != f"[{joined}]":
        raise ValueError("not in its one spelling")
    if set(map(tuple, found)) != {_MEMBERS}:
        raise ValueError("another member")
    times, monos, kinds, bodies = map(list, zip(*map(dict.values, found), strict=True))
    if {tuple(map(type, fields.values())) for fields in found} != {_MEMBER_TYPES}:
        raise ValueError("a member of another type")
    return Columns(times, monos, kinds, bodies, ends_of(kinds, bodies), sealed=CAPTURE in joined)


STANDARD: Final = Codec(_columns)
