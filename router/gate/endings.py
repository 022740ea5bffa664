"""How an exchange ends: the word for its outcome, and what its worker is told. Pure."""

from __future__ import annotations

import asyncio
from typing import Final

from router.audit import LedgerUnavailable
from router.channel.frames import Payload
from router.channel.messages import Cause, Failure
from router.gate.connection import UpstreamFault

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
            return MISTAKE, Failure(Cause.MISTAKE, "a mistake of ours")


def cancelled_because(payload: Payload) -> str:
    """The ending of an exchange that its worker cancelled: from the closed list of causes, or the client's leaving."""
    try:
        cause = Cause(str(payload, "ascii", "replace"))
    except ValueError:
        return CLIENT_LEFT
    return CLIENT_LEFT if cause is Cause.CANCELLED else str(cause)
