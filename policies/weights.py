"""Where model weights may be fetched from: public libraries of files, to which no prompt is ever sent."""

from __future__ import annotations

from typing import Final

from policies.cloud import Provider, cloud_provider_of

LIBRARIES: Final = frozenset({"huggingface.co"})
"""Hosts that sell inference under other names of theirs, and hand out weights under this one."""


def provider_barring(host: str, *, weights_only: bool = False) -> Provider | None:
    """The cloud for which a host is refused. A library is no reason to refuse where only weights are fetched."""
    if weights_only and host in LIBRARIES:
        return None
    return cloud_provider_of(host)
