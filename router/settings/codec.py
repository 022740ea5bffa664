"""A Snapshot as bytes, for the way from the supervisor to the processes it starts."""

from __future__ import annotations

from typing import Final

import msgspec

from router.settings.snapshot import Snapshot

_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")


def encode(snapshot: Snapshot) -> bytes:
    """MessagePack; the same settings always give the same bytes."""
    return _ENCODER.encode(snapshot)


def decode(raw: bytes) -> Snapshot:
    """The snapshot that `encode` took. msgspec.DecodeError for anything else."""
    return msgspec.msgpack.decode(raw, type=Snapshot)  # what it knows of the type is made by the first who decodes
