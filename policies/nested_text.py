"""JSON inside the texts of a body: what it is, and how much of it may be looked at."""

from __future__ import annotations

import json
from typing import Any, Final

from policies.decision import Reason

_MOST_VALUES: Final = 200_000
PLACE: Final = 4  # values: what it costs to step into an object or a list
NAME: Final = 3  # values: what a name costs that is not among the ordinary ones
_TEXT: Final = 8  # values: what it costs to parse a text, also when it is no JSON
_CHARACTERS_PER_VALUE: Final = 64  # a long text parsed again at each level costs too, however few its values
_OPENERS: Final = frozenset("{[")


class Allowance:
    """How many more values one judgement may look at."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _MOST_VALUES

    def takes(self, count: int) -> bool:
        """Count them; False when they are too many."""
        self._left -= count
        return self._left >= 0


class TextRefusedError(Exception):
    """A text's JSON cannot be judged: it is too much, or says two things."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def may_be_json(text: str) -> bool:
    """Does it begin as an object or a list does?"""
    return text.lstrip()[:1] in _OPENERS


def parsed(text: str, allowance: Allowance) -> Any:
    """The object or list that a text (that may be JSON) is the JSON of, None when it is of none; TextRefusedError.

    Its values are counted before it is parsed: by its brackets and commas, which are never fewer.
    """
    places = text.count("{") + text.count("[")
    values = text.count(",") + places + len(text) // _CHARACTERS_PER_VALUE
    if not allowance.takes(_TEXT + PLACE * places + values):
        raise TextRefusedError(Reason.TOO_COMPLEX)
    try:  # numbers are not looked at, and Python limits the digits of an integer only
        return json.loads(text, object_pairs_hook=_table, parse_int=float)
    except RecursionError:
        raise TextRefusedError(Reason.TOO_COMPLEX) from None
    except ValueError:
        return None


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise TextRefusedError(Reason.AMBIGUOUS_NAME)
    return table
