"""What the ledger says of an exchange before anything is sent: names from the policy, sizes, never content."""

from __future__ import annotations

from policies import Policy
from router.channel.messages import Open


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


def names_of(message: Open, policy: Policy) -> dict[str, object]:
    """Of a `decision`'s body, what every exchange of these names has in common."""
    return {
        "caller": message.caller,
        "model": message.model,
        "served_model": policy.models[message.model].served.get(message.tier, message.model),
        "endpoint": str(message.endpoint),
        "tier": message.tier,
        "upstream": message.upstream,
        "reach": policy.upstreams[message.upstream].reach.word,
        "policy": policy.digest,
    }


def decision(
    names: dict[str, object], message: Open, message_macs: list[str], captured: dict[str, object]
) -> dict[str, object]:
    """The body of a `decision`: one `outcome` follows it."""
    return {
        **names,
        "request_id": message.request_id,
        "attempt": message.attempt,
        "reason": "continued" if message.continued else "allowed",
        "body_bytes": message.body_bytes,
        "message_macs": message_macs,
        **captured,
    }
