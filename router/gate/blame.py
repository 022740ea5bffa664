"""What an exchange that is over tells of its upstream: whose failure it was, or how soon it began to answer."""

from __future__ import annotations

from typing import Final

from router.channel.messages import Cause
from router.gate.connection import UpstreamFault
from router.gate.relay import Relay
from router.gate.upstreams import Upstreams

NOT_ITS_OWN: Final = frozenset({Cause.POLICY, Cause.STALE_POLICY, Cause.TOTAL_TIMEOUT, Cause.TOO_LARGE, Cause.MISTAKE})


def blame(upstreams: Upstreams, upstream: str, fault: UpstreamFault, relay: Relay | None) -> None:
    """An exchange that failed."""
    if relay is not None and relay.caught is not None:
        upstreams.caught(upstream, relay.caught)
    in_vain = fault.cause is Cause.TOTAL_TIMEOUT and relay is not None and relay.waited_in_vain
    if fault.cause not in NOT_ITS_OWN or in_vain:
        upstreams.failed(upstream, fault)


def praise(upstreams: Upstreams, upstream: str, relay: Relay | None) -> None:
    """A whole answer; it can be a failure all the same."""
    failure = relay.failure if relay is not None and relay.status >= 400 else None
    if failure is not None:
        upstreams.failed(upstream, UpstreamFault(failure.cause, failure.detail, failure.retry_after_s))
    elif relay is not None:
        upstreams.succeeded(upstream, relay.first_byte_s)
