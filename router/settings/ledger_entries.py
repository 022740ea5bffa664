"""The parts of the tier policy file that are about the ledger: what is kept, how, and for whose eyes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from router.settings.outside_entry import OutsideEntry
from router.settings.strict import Duration, Strict


class AuditEntry(Strict, frozen=True):
    directory: Annotated[
        str, Meta(description="Where the ledger lies; relative to this file, else to the working directory.")
    ] = "./ledger"
    durability: Annotated[
        Literal["strict", "group", "async"],
        Meta(description="When a record counts as written: `strict` waits for the disk before anything is sent."),
    ] = "strict"
    heartbeat: Annotated[
        Duration,
        Meta(ge=1, le=86400, description="An idle ledger says that it lives this often: silence is a finding."),
    ] = 300.0
    segment_bytes: Annotated[
        int,
        Meta(
            ge=65536,
            le=1 << 40,
            description="A segment of this size ends, and each ends with its day: retention goes by whole segments.",
        ),
    ] = 64 * 1024 * 1024
    ml_dsa: Annotated[
        bool, Meta(description="Set to true for a second, post-quantum signature (ML-DSA-44) under each checkpoint.")
    ] = False


class CaptureEntry(Strict, frozen=True):
    callers: Annotated[tuple[str, ...], Meta(description="All exchanges of these callers.")] = ()
    models: Annotated[tuple[str, ...], Meta(description="All exchanges with these models.")] = ()


class WitnessEntry(OutsideEntry, frozen=True, kw_only=True):
    url: Annotated[
        str, Meta(description="Its submission prefix: `http(s)://HOST:PORT/PATH`, canonical, port included.")
    ]
    vkey: Annotated[
        str, Meta(description="Its public key as its keeper publishes it: `name+hash+base64`, cosignature/v1.")
    ]
    third_party_host: Annotated[
        bool,
        Meta(
            description="Set to true to accept that it is somebody else's computer: it learns how many records there "
            "are."
        ),
    ] = False
