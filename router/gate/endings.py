"""How an exchange ends: the word for it, what its worker is told, and what the ledger says. Pure."""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec import UNSET

from router.audit import LedgerUnavailable
from router.audit.fields import Outcome
from router.channel.frames import Payload
from router.channel.messages import MISTAKE_OF_OURS, Cause, Failure
from router.gate.connection import UpstreamFault
from router.gate.relay import Relay

COMPLETED: Final = "completed"
MISTAKE: Final = str(Cause.MISTAKE)
CLIENT_LEFT: Final = "client_left"
AUDIT_BACK_S: Final = 5.0


def ending_of(error: BaseException, cancelled: str) -> tuple[str, Failure | None]:
    """Of one that was not completed. `cancelled`: the word for one whose worker asked for that, or is gone: it is told
    nothing.
    """
    match error:
        case UpstreamFault():
            return str(error.cause), Failure(error.cause, error.detail, error.retry_after_s)
        case LedgerUnavailable():
            return str(Cause.AUDIT), Failure(Cause.AUDIT, str(error), AUDIT_BACK_S)
        case asyncio.CancelledError():
            return cancelled, None
        case _:
            return MISTAKE, MISTAKE_OF_OURS


def cancelled_because(payload: Payload) -> str:
    """The ending of an exchange that its worker cancelled: from the closed list of causes, or the client's leaving."""
    try:
        cause = Cause(str(payload, "ascii", "replace"))
    except ValueError:
        return CLIENT_LEFT
    return CLIENT_LEFT if cause is Cause.CANCELLED else str(cause)


def outcome(decision: int, ending: str, relay: Relay | None, began: float, now: float) -> Outcome:
    """The body of an `outcome`, by what was seen between these times of the loop's clock. The ledger rounds."""
    total_ms = (now - began) * 1000
    if relay is None:
        return Outcome(
            decision=decision, ending=ending, status=0, sent_bytes=0, received_bytes=0,
            first_byte_ms=-1.0, total_ms=total_ms,
        )  # fmt: skip
    first = relay.first_byte_at
    return Outcome(
        decision=decision,
        ending=ending,
        status=relay.status,
        sent_bytes=relay.sent,
        received_bytes=relay.received,
        resent=1 if relay.resent else UNSET,
        first_byte_ms=(first - began) * 1000 if first is not None else -1.0,
        total_ms=total_ms,
        address=relay.address or UNSET,
    )
