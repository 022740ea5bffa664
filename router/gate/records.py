"""What the ledger says of an exchange before anything is sent: names from the policy, sizes, never content."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from msgspec import UNSET
from msgspec.structs import replace

from policies import Policy
from router.audit import Kind
from router.audit.fields import Decision, Outcome, form_of
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


def decision_of(message: Open, policy: Policy) -> Decision:
    """A `decision`'s form with what every exchange of these names has in common; `decision` fills in the rest."""
    body = {
        "caller": message.caller,
        "model": message.model,
        "served_model": policy.models[message.model].served.get(message.tier, message.model),
        "endpoint": str(message.endpoint),
        "tier": message.tier,
        "upstream": message.upstream,
        "reach": policy.upstreams[message.upstream].reach.word,
        "policy": policy.digest,
        "request_id": "",
        "reason": "allowed",
    }
    return cast("Decision", form_of(Kind.DECISION, body))


def decision(form: Decision, message: Open, message_macs: list[str], capture: str) -> Decision:
    """The body of a `decision`: one `outcome` follows it. `capture`: of the sealed prompt, "" if there is none."""
    return replace(
        form,
        request_id=message.request_id,
        attempt=message.attempt,
        reason="continued" if message.continued else "allowed",
        body_bytes=message.body_bytes,
        message_macs=message_macs,
        capture=capture or UNSET,
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
