"""`ringfence serve` as it is mostly called, read without the library of commands, which takes a third of a start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from router.settings.flags import Flags

_TEXTS: Final = ("--config", "--host")
_NUMBERS: Final = ("--port", "--workers")


def straight(arguments: Sequence[str]) -> tuple[str | None, Flags] | None:
    """The file and the flags of a plain `serve`; None for all else, which the library of commands reads or refuses.

    Plain: each option at most once, with a value that is neither empty nor looks like an option, numbers as digits.
    """
    if not arguments or arguments[0] != "serve":
        return None
    found = _options(arguments[1:])
    if found is None or any(not _is_number(found[name]) for name in _NUMBERS if name in found):
        return None
    port, workers = (int(found[name]) if name in found else None for name in _NUMBERS)
    return found.get("--config"), Flags(found.get("--host"), port, workers)


def _options(words: Sequence[str]) -> dict[str, str] | None:
    """Name -> value, of `--name value` and `--name=value`."""
    found: dict[str, str] = {}
    rest = list(words)
    while rest:
        name, glued, value = rest.pop(0).partition("=")
        if not glued:
            value = rest.pop(0) if rest else ""
        if name not in (*_TEXTS, *_NUMBERS) or name in found or not value or value.startswith("-"):
            return None
        found[name] = value
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9
