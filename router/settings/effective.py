"""The settings in force as lines, each with the place it came from. No secret is among them: settings name files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from policies import Policy
from router.settings.durations import write_duration
from router.settings.findings import Origin, Path, dotted
from router.settings.model import SettingsFile
from router.settings.model_entries import ModelEntry

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
    return settings.model_copy(update={"models": models, "default_model": policy.default_model})


def _of_model(path: Path, model: BaseModel) -> Iterator[Leaf]:
    for name, field in type(model).model_fields.items():
        yield from _of_value((*path, field.alias or name), getattr(model, name), field)


def _of_value(path: Path, value: Any, field: FieldInfo) -> Iterator[Leaf]:
    if isinstance(value, BaseModel):
        yield from _of_model(path, value)
    elif isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _of_value((*path, key), inner, field)
    elif isinstance(value, tuple) and any(isinstance(inner, BaseModel) for inner in value):
        for position, inner in enumerate(value):
            yield from _of_value((*path, position), inner, field)
    else:
        yield path, _written(str(path[-1]), value, field)


def _written(key: str, value: Any, field: FieldInfo) -> str:
    means = _MEANS.get((key, value)) if isinstance(value, (int, float, type(None))) else None
    if means is not None:
        return means
    if value is None:
        return "not set"
    if value in ((), {}):
        return "none"
    if isinstance(value, float) and any("parse_duration" in str(item) for item in (field.annotation, *field.metadata)):
        return write_duration(value)
    return json.dumps(value, ensure_ascii=False)


def _origin(path: Path, origins: Mapping[Path, Origin]) -> str:
    origin = origins.get(path)
    if origin is None or origin.file == "default":
        return "default"
    if origin.variable:
        return f"{origin.file} {origin.variable}"
    return f"{origin.file}:{origin.line}"
