"""What the operator may choose about the ledger."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from router import __version__
from router.audit.kinds import Durability


class LedgerSettings(Struct, frozen=True):
    """Where the ledger lies and what "recorded" means. Sizes in bytes, times in seconds."""

    directory: Path
    durability: Durability = Durability.STRICT
    log_name: str = "ringfence"  # the first part of the log's origin: `ringfence/audit/<log id>`
    checkpoint_every: int = 256  # records
    checkpoint_pause_s: float = 0.5  # at least so long between two checkpoint files, unless asked for
    checkpoint_idle_s: float = 1.0  # records never wait longer than this for their checkpoint
    heartbeat_s: float = 300.0
    group_wait_s: float = 0.004
    linger_s: float = 0.05  # a record that nobody waits for (an outcome) goes with the next batch, or after so long
    segment_bytes: int = 64 * 1024 * 1024
    reserve_bytes: int = 1024 * 1024
    ml_dsa: bool = False  # a second, post-quantum signature (ML-DSA-44) under each checkpoint file
    version: str = __version__  # of the program, as the start record names it
