"""How a seal is told to the log: by the sealed process itself, or by the supervisor for one that has no log."""

from __future__ import annotations

from router.logs import Log
from router.seal.attestation import NONE, Attestation


def log_seal(attestation: Attestation, log: Log) -> None:
    """One line: what holds this process, and what does not and why."""
    escaped = [f"{attempt.name} got through" for attempt in attestation.escaped]
    event = "not_sealed" if attestation.level == NONE else "sealed"
    log(event, state=attestation.seal, pid=attestation.pid, reason="; ".join((*attestation.notes, *escaped)))
