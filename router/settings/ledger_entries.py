"""The parts of the tier policy file that are about the ledger: what is kept, how, and for whose eyes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from router.settings.outside_entry import OutsideEntry
from router.settings.strict import Duration, Strict


class AuditEntry(Strict):
    directory: str = Field(default="./ledger", description="Where the ledger lies; relative to this file.")
    durability: Literal["strict", "group", "async"] = Field(
        default="strict",
        description="When a record counts as written: `strict` waits for the disk before anything is sent.",
    )
    heartbeat: Duration = Field(
        default=300.0, ge=1, le=86400, description="An idle ledger says that it lives this often: silence is a finding."
    )
    segment_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=65536,
        le=1 << 40,
        description="A segment of this size ends, and each ends with its day: retention goes by whole segments.",
    )
    ml_dsa: bool = Field(
        default=False,
        description="Set to true for a second, post-quantum signature (ML-DSA-44) under each checkpoint.",
    )


class CaptureEntry(Strict):
    callers: tuple[str, ...] = Field(default=(), description="All exchanges of these callers.")
    models: tuple[str, ...] = Field(default=(), description="All exchanges with these models.")


class WitnessEntry(OutsideEntry):
    url: str = Field(description="Its submission prefix: `http(s)://HOST:PORT/PATH`, canonical, port included.")
    vkey: str = Field(description="Its public key as its keeper publishes it: `name+hash+base64`, cosignature/v1.")
    third_party_host: bool = Field(
        default=False,
        description="Set to true to accept that it is somebody else's computer: it learns how many records there are.",
    )
