"""A child seals itself, and tells the supervisor and the log how that went. A seal is never silent."""

from __future__ import annotations

from collections.abc import Sequence

from router.channel.control import Control, Message, Word
from router.channel.seal_told import log_seal
from router.logs import Log
from router.seal.attestation import Attestation
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


def _refuse(reason: str, control: Control, log: Log) -> None:
    log("seal_refused", reason=reason)
    control.send(Message(Word.FATAL, text=reason))
