"""The catalogue of cloud providers: a good reason to refuse, never the fence (that is the allow-list)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from policies import providers_litellm, providers_vendors


class Provider(Struct, frozen=True):
    """One row: whose host this is, by which pattern we know it, and where we know it from."""

    name: str
    pattern: str  # exact host, ".domain" with all below, or "*" for a part of one label
    source: str  # "vendor", or a file of the litellm package


def every_provider() -> Iterator[Provider]:
    """All rows, the hand-made first."""
    for name, pattern in providers_vendors.ROWS:
        yield Provider(name, pattern, "vendor")
    for name, pattern, source in providers_litellm.ROWS:
        yield Provider(name, pattern, f"litellm:{source}")


def cloud_provider_of(host: str) -> Provider | None:
    """The provider whose host a canonical name is; None for one we do not know."""
    found = _EXACT.get(host)
    if found is not None:
        return found
    labels = host.split(".")
    for start in range(len(labels) - 1):
        found = _BELOW.get(".".join(labels[start:]))
        if found is not None:
            return found
    candidates = _STARRED.get((len(labels), *labels[-2:]), ())
    found = next((provider for provider, pattern in candidates if _fits(labels, pattern)), None)
    return found or _NAMED_BY_LITELLM.get(host)


def _fits(labels: list[str], pattern: tuple[str, ...]) -> bool:
    return all(_label_fits(label, part) for label, part in zip(labels, pattern, strict=True))


def _label_fits(label: str, part: str) -> bool:
    front, star, back = part.partition("*")
    if not star:
        return label == part
    return len(label) > len(front) + len(back) and label.startswith(front) and label.endswith(back)


Key = tuple[int | str, ...]


def _starred(rows: tuple[Provider, ...]) -> dict[Key, tuple[tuple[Provider, tuple[str, ...]], ...]]:
    table: dict[Key, tuple[tuple[Provider, tuple[str, ...]], ...]] = {}
    for provider in rows:
        if "*" in provider.pattern:
            parts = tuple(provider.pattern.split("."))
            key: Key = (len(parts), *parts[-2:])
            table[key] = (*table.get(key, ()), (provider, parts))
    return table


_VENDORS: Final = tuple(row for row in every_provider() if row.source == "vendor")
_EXACT: Final = {row.pattern: row for row in _VENDORS if "*" not in row.pattern}
_BELOW: Final = {row.pattern[1:]: row for row in _VENDORS if row.pattern.startswith(".")}
_STARRED: Final = _starred(_VENDORS)
_NAMED_BY_LITELLM: Final = {row.pattern: row for row in every_provider() if row.source != "vendor"}
