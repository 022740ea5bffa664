"""What the ledger says of an exchange before anything is sent: names from the policy, sizes, never content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from policies import Policy
from router.audit import Prepared
from router.audit.fields import Outcome
from router.channel.messages import Open

if TYPE_CHECKING:
    from router.gate.relay import Relay


def denial(message: Open, reason: str) -> dict[str, object]:
    """The body of a `denial`: it stands alone."""
    return {
        "request_id": message.request_id,
        "caller": message.caller,
        "model": message.model,
        "endpoint": str(message.endpoint),
        "reason": reason,
        "param": "",
    }


def decisions(message: Open, policy: Policy, reason: str) -> Prepared:
    """The bodies of a `decision` for every exchange of these names, for this reason: one `outcome` follows each."""
    return Prepared(
        {
            "caller": message.caller,
            "model": message.model,
            "served_model": policy.models[message.model].served.get(message.tier, message.model),
            "endpoint": str(message.endpoint),
            "tier": message.tier,
            "upstream": message.upstream,
            "reach": policy.upstreams[message.upstream].reach.word,
            "policy": policy.digest,
            "reason": reason,
        }
    )


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
