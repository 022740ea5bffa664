"""Times as people write them: 500ms, 2s, 3m, 12h, 1d."""

from __future__ import annotations

import re
from typing import Final

_FORM: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST_S: Final = 30 * 86400.0


def write_duration(seconds: float) -> str:
    """As people write it: in the largest unit that leaves a whole number, else in seconds."""
    milliseconds = round(seconds * 1000)
    for unit in ("d", "h", "m", "s", "ms"):
        size = round(_SECONDS[unit] * 1000)
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{seconds:g}s"


def parse_duration(text: object) -> float:
    """Seconds. ValueError says how to write a time; a bare number is refused, since nobody can tell its unit."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("write a time as a number with its unit: 500ms, 2s, 3m, 12h or 1d")
    seconds = float(found[1]) * _SECONDS[found[2]]
    if seconds > LONGEST_S:
        raise ValueError("a time is at most 30d")
    return seconds
