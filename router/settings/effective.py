"""The settings in force as lines, each with the place it came from. No secret is among them: settings name files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from router.settings.findings import Origin, Path, dotted
from router.settings.model import SettingsFile


def lines(settings: SettingsFile, origins: Mapping[Path, Origin]) -> list[str]:
    """`key = value  # origin` for every value. Times are in seconds."""
    leaves = list(_leaves((), settings.model_dump()))
    return [f"{dotted(path)} = {json.dumps(value)}  # {_origin(path, origins)}" for path, value in leaves]


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves((*path, key), inner)
    elif isinstance(value, tuple) and any(isinstance(inner, dict) for inner in value):
        for position, inner in enumerate(value):
            yield from _leaves((*path, position), inner)
    else:
        yield path, value


def _origin(path: Path, origins: Mapping[Path, Origin]) -> str:
    origin = origins.get(path)
    if origin is None or origin.file == "default":
        return "default"
    if origin.variable:
        return f"{origin.file} {origin.variable}"
    return f"{origin.file}:{origin.line}"
