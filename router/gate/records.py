"""What the ledger says of an exchange before anything is sent: names from the policy, sizes, never content."""

from __future__ import annotations

from policies import Policy
from router.audit import Prepared
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
