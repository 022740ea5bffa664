"""A child seals itself, and tells the supervisor and the log how that went. A seal is never silent."""

from __future__ import annotations

from collections.abc import Sequence

from router.channel.control import Control, Message, Word
from router.logs import Log
from router.seal.attestation import NONE, Attestation
from router.seal.enclose import Plan, enclose
from router.seal.process import UnexpectedlyHeld


def seal_process(plan: Plan, required: Sequence[str], control: Control, log: Log) -> Attestation | None:
    """None when this process may not go on: what `required` asks for is not enforced, or it holds what it must not."""
    try:
        attestation = enclose(plan)
    except UnexpectedlyHeld as error:
        _refuse(f"the {plan.profile} is not sealed: {error}", control, log)
        return None
    control.send(Message(Word.SEALED, text=attestation.to_json()))
    if reason := attestation.shortfall(required):
        _refuse(reason, control, log)
        return None
    log_seal(attestation, log)
    return attestation


def log_seal(attestation: Attestation, log: Log) -> None:
    """One line: what holds this process, and what does not and why."""
    escaped = [f"{attempt.name} got through" for attempt in attestation.escaped]
    event = "not_sealed" if attestation.level == NONE else "sealed"
    log(event, state=attestation.seal, pid=attestation.pid, reason="; ".join((*attestation.notes, *escaped)))


def _refuse(reason: str, control: Control, log: Log) -> None:
    log("seal_refused", reason=reason)
    control.send(Message(Word.FATAL, text=reason))
