"""The settings in force as lines, each with the place it came from. No secret is among them: settings name files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from policies import Policy
from router.settings.durations import write_duration
from router.settings.findings import Origin, Path, dotted
from router.settings.model import SettingsFile
from router.settings.model_entries import ModelEntry
from router.settings.reading import Key, keys_of
from router.settings.strict import Strict

_MEANS: Final[Mapping[tuple[str, object], str]] = {
    ("workers", 0): "auto",
    ("concurrency", 0): "no limit of its own",
    ("threads", 0): "all cores",
    ("every", 0.0): "only when asked",
    ("hedge_after", 0.0): "never",
    ("cold_start", None): "180s, but not more than 'total'",
    ("answer", None): "half of 'total', but not less than 'first_token'",
}
"""What a value that was left away, or 0, comes to."""
Leaf = tuple[Path, str]


def lines(settings: SettingsFile, origins: Mapping[Path, Origin], policy: Policy) -> list[str]:
    """`key = value  # origin` for every value, as one would write it; what follows from others is said as that."""
    leaves = list(_of_model((), _completed(settings, policy)))
    return [f"{dotted(path)} = {value}  # {_origin(path, origins)}" for path, value in leaves]


def _completed(settings: SettingsFile, policy: Policy) -> SettingsFile:
    """With the models that are served and the default one, where the file leaves that to us."""
    models = settings.models or {name: ModelEntry(tiers=rule.tiers) for name, rule in policy.models.items()}
    return replace(settings, models=models, default_model=policy.default_model)


def _of_model(path: Path, model: Strict) -> Iterator[Leaf]:
    for name, key in keys_of(type(model)).items():
        yield from _of_value((*path, name), getattr(model, key.attribute), key)


def _of_value(path: Path, value: Any, key: Key) -> Iterator[Leaf]:
    if isinstance(value, Strict):
        yield from _of_model(path, value)
    elif isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _of_value((*path, name), inner, key)
    elif isinstance(value, tuple) and any(isinstance(inner, Strict) for inner in value):
        for position, inner in enumerate(value):
            yield from _of_value((*path, position), inner, key)
    else:
        yield path, _written(str(path[-1]), value, key)


def _written(name: str, value: Any, key: Key) -> str:
    means = _MEANS.get((name, value)) if isinstance(value, (int, float, type(None))) else None
    if means is not None:
        return means
    if value is None:
        return "not set"
    if value in ((), {}):
        return "none"
    if isinstance(value, float) and key.is_time:
        return write_duration(value)
    return json.dumps(value, ensure_ascii=False)


def _origin(path: Path, origins: Mapping[Path, Origin]) -> str:
    origin = origins.get(path)
    if origin is None or origin.file == "default":
        return "default"
    if origin.variable:
        return f"{origin.file} {origin.variable}"
    return f"{origin.file}:{origin.line}"
