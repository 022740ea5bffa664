"""What is left of settings with mistakes in their shape, so that every other mistake is told in the same run."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final

from msgspec import Struct

from router.settings.findings import Finding, Path, dotted
from router.settings.model import SettingsFile
from router.settings.reading import Kind, Mistake, read
from router.settings.shape import MOST

_TABLES: Final = ("upstreams", "hosts", "engines", "model_sources", "tiers", "models", "default_model")
_MOST_ROUNDS: Final = 32  # each round takes out what is wrong; a value that was hidden may be named in the next


class Salvaged(Struct, frozen=True):
    """Settings without the values that were wrong; `whole`: every named entry is still there, in its place."""

    settings: SettingsFile
    wrong: tuple[Path, ...]
    whole: bool

    def is_consequence(self, finding: Finding) -> bool:
        """Is it said of something only because a value in it was taken out?"""
        keys = [dotted(path) for path in self.wrong]
        return any(key == finding.key or key.startswith((f"{finding.key}.", f"{finding.key}[")) for key in keys)


def salvage(tree: dict[str, Any]) -> Salvaged | None:
    """The settings that remain; None where nothing does."""
    wrong: list[Path] = []
    whole = True
    for _ in range(_MOST_ROUNDS):
        reading = read(SettingsFile, tree)
        if reading.value is not None:
            return Salvaged(reading.value, tuple(wrong), whole)
        if len(reading.mistakes) > MOST:
            return None
        # From the back, so that positions in lists still mean what they meant.
        for mistake in sorted(reading.mistakes, key=_place, reverse=True):
            path = mistake.path[:-1] if mistake.kind is Kind.MISSING else mistake.path
            whole = whole and _leaves_all_entries(path, unknown=mistake.kind is Kind.UNKNOWN)
            wrong.append(path)
            tree = _without(tree, path)
    return None


def _place(mistake: Mistake) -> tuple[str, ...]:
    return tuple(f"{part:09}" if isinstance(part, int) else part for part in mistake.path)


def _leaves_all_entries(path: Path, *, unknown: bool) -> bool:
    """An unknown key that resembles one of ours was meant for it; what stood in a list moves what follows."""
    if any(isinstance(part, int) for part in path[-1:]):
        return False
    if unknown:
        return len(path) > 1 or not get_close_matches(str(path[0]), _TABLES, n=1)
    return path[0] not in _TABLES or len(path) > 2


def _without(value: dict[str, Any], path: Path) -> dict[str, Any]:
    """The same without what stands at this path, or without the nearest around it that is there."""
    here, rest = str(path[0]), path[1:]
    inner = value.get(here)
    if rest and isinstance(inner, dict):
        return {**value, here: _without(inner, rest)}
    if rest and isinstance(inner, tuple):
        return {**value, here: tuple(_items_without(inner, rest))}
    return {key: item for key, item in value.items() if key != here}


def _items_without(items: tuple[Any, ...], path: Path) -> Iterator[Any]:
    at, rest = path[0], path[1:]
    for position, item in enumerate(items):
        if position != at:
            yield item
        elif rest and isinstance(item, dict):
            yield _without(item, rest)
