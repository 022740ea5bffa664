"""The keys file's shape: callers' keys, hashed. The reference page is made of it too."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from router.settings.model_entries import ReachWord
from router.settings.strict import Strict


class KeyEntry(Strict, frozen=True):
    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{8}$", description="The key's public part.")]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the whole key.")]
    caller: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$", description="Whom the key stands for.")]
    reach: Annotated[ReachWord, Meta(description="How far this caller's prompts may travel.")] = "rented"
    models: Annotated[tuple[str, ...] | None, Meta(description="The models it may ask for; left away: all.")] = None
    operator: Annotated[bool, Meta(description="Whether it opens `/admin` and `/metrics`.")] = False
    created: Annotated[str, Meta(description="When, as an RFC 3339 time.")] = ""


class KeysFile(Strict, frozen=True):
    keys: Annotated[tuple[KeyEntry, ...], Meta(description="All keys in force.")]
