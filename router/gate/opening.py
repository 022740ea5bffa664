"""The gate's ledger, as the settings want it."""

from __future__ import annotations

from pathlib import Path

from router.audit import Durability, Ledger, LedgerError, LedgerSettings
from router.gate.capturing import KEY_IS_HERE
from router.settings.snapshot import Snapshot


def open_ledger(snapshot: Snapshot) -> Ledger:
    """LedgerError also when sealed capture is wanted while the reviewer's secret key is at hand: we could read it."""
    ledger = Ledger.open(_ledger_settings(snapshot))
    if (snapshot.capture.callers or snapshot.capture.models) and ledger.reviewer_is_local:
        ledger.close()
        raise LedgerError(KEY_IS_HERE)
    return ledger


def _ledger_settings(snapshot: Snapshot) -> LedgerSettings:
    audit = snapshot.audit
    return LedgerSettings(
        Path(audit.directory),
        Durability(audit.durability),
        heartbeat_s=audit.heartbeat_s,
        segment_bytes=audit.segment_bytes,
        ml_dsa=audit.ml_dsa,
    )
