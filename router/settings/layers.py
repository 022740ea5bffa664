"""Settings from several places laid over each other, the stronger above, each value's origin kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from router.settings.findings import Origin, Path


class Layer(Struct, frozen=True):
    """A tree of settings and where each of its values was written."""

    tree: dict[str, Any]
    origins: Mapping[Path, Origin]


# Without any upstream named anywhere: the embedded engine alone.
EMBEDDED_ALONE: Final = Layer(
    {"upstreams": {"embedded": {"engine": "small"}}, "tiers": ({"name": "embedded", "upstreams": ("embedded",)},)},
    {("upstreams",): Origin("default"), ("tiers",): Origin("default")},
)


def lay(layers: list[Layer]) -> Layer:
    """All layers in one, the last one strongest: mappings are laid over each other, any other value is replaced."""
    tree: dict[str, Any] = {}
    origins: dict[Path, Origin] = {}
    for layer in layers:
        tree = _over(tree, layer.tree)
        origins.update(layer.origins)
    return Layer(tree, origins)


def names_upstreams(layer: Layer) -> bool:
    """Does this layer say who is listed?"""
    return isinstance(layer.tree, dict) and any(key in layer.tree for key in ("upstreams", "tiers"))


def _over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result
