"""The keys file's shape: callers' keys, hashed. The reference page is made of it too."""

from __future__ import annotations

from pydantic import Field

from router.settings.model_entries import ReachWord
from router.settings.strict import Strict


class KeyEntry(Strict):
    id: str = Field(pattern=r"^[0-9a-f]{8}$", description="The key's public part.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the whole key.")
    caller: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$", description="Whom the key stands for.")
    reach: ReachWord = Field(default="rented", description="How far this caller's prompts may travel.")
    models: tuple[str, ...] | None = Field(default=None, description="The models it may ask for; left away: all.")
    operator: bool = Field(default=False, description="Whether it opens `/admin` and `/metrics`.")
    created: str = Field(default="", description="When, as an RFC 3339 time.")


class KeysFile(Strict):
    keys: tuple[KeyEntry, ...] = Field(description="All keys in force.")
