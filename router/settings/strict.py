"""What all parts of the tier policy file have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from router.settings.durations import parse_duration


class Before(Struct, frozen=True):
    """In an annotation: what a written value becomes before its type is looked at. ValueError tells what is wrong."""

    read: Callable[[Any], Any]


Duration = Annotated[float, Before(parse_duration)]


class Strict(Struct, frozen=True, kw_only=True):
    """No unknown key, no conversion between types, no change afterwards: `reading` sees to it.

    `written`: which keys were there, by the names of their attributes; it is no key itself.
    """

    written: frozenset[str] = frozenset()

    def __eq__(self, other: object) -> bool:
        """Whether both mean the same, whoever left what away."""
        return type(other) is type(self) and isinstance(other, Strict) and self.values() == other.values()

    __hash__ = None  # type: ignore[assignment] # mappings are among the values

    def values(self) -> dict[str, Any]:
        """All that can be written, by the names of their attributes."""
        found = msgspec.structs.asdict(self)
        del found["written"]
        return found
