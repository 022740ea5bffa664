"""What a failed exchange means: try the next upstream, or tell the client, and how. One table, pure."""

from __future__ import annotations

from collections.abc import Sequence

from router.channel.messages import Cause, Failure, Head
from router.errors import (
    MISTAKE,
    AuditUnavailable,
    GateUnavailable,
    PolicyDenied,
    RouterError,
    Unavailable,
    UpstreamFailed,
    UpstreamsBusy,
    UpstreamsUnavailable,
    UpstreamTimeout,
)

MOVE_ON = frozenset(
    {
        Cause.DNS,
        Cause.REFUSED,
        Cause.TLS,
        Cause.CONNECT_TIMEOUT,
        Cause.FIRST_TOKEN_TIMEOUT,
        Cause.BETWEEN_TOKENS_TIMEOUT,
        Cause.BROKE,
        Cause.BAD_ANSWER,
        Cause.REDIRECT,
        Cause.COLD,
        Cause.TOTAL_TIMEOUT,
        Cause.BUSY,
        Cause.TOO_LARGE,
        Cause.POLICY,
        Cause.STALE_POLICY,
        Cause.IDENTITY,
        Cause.CREDENTIAL,
    }
)
COME_BACK_S = 2.0
LONGEST_COME_BACK_S = 3600.0


def failure_of(head: Head) -> Failure | None:
    """Why this answer makes us ask another upstream; None when it is the answer, be it a 4xx.

    501 (RFC 9110, 15.6.2: it has no such function) is one too. It tells nothing of the upstream's health, and a client
    that asks a chat model to rank must not take it out for all others.
    """
    if head.status in (401, 403):
        return Failure(Cause.CREDENTIAL, f"status {head.status}: the upstream refuses our credential")
    if head.status == 429:
        return Failure(Cause.BUSY, "status 429", retry_after_s(head.retry_after))
    if head.status == 408 or (head.status >= 500 and head.status != 501):
        return Failure(Cause.BROKE, f"status {head.status}")
    return None


def retry_after_s(value: str) -> float:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3); a date or nonsense counts as a short wait."""
    return min(float(value), LONGEST_COME_BACK_S) if value.isascii() and value.isdigit() else COME_BACK_S


def error_of(failures: Sequence[Failure]) -> RouterError:
    """What the client is told once no attempt is left: the most telling of the failures."""
    if not failures:
        return UpstreamsUnavailable("No upstream can serve this now.", retry_after_s=COME_BACK_S)
    causes = {failure.cause for failure in failures}
    last = failures[-1].cause
    kind, message = next(
        (answer for among, answer in _ANSWERS if last in among or causes & among & _TELLING),
        (UpstreamFailed, "No upstream could answer; the operator's log and ledger say why."),
    )
    back = max(failure.retry_after_s for failure in failures) or COME_BACK_S
    return kind(message, retry_after_s=back if kind.status in (429, 503) else None)


_TELLING = frozenset({Cause.COLD, Cause.BUSY})  # worth telling though another upstream failed otherwise after it
_NAMELESS = "No upstream can be reached: a name does not resolve; its operator must mend the address, or DNS."
_NOBODY_LISTENS = "No upstream accepts connections; its operator must start it, or mend its address."
_TIMEOUTS = frozenset({Cause.CONNECT_TIMEOUT, Cause.FIRST_TOKEN_TIMEOUT, Cause.BETWEEN_TOKENS_TIMEOUT})
_ANSWERS: tuple[tuple[frozenset[Cause], tuple[type[RouterError], str]], ...] = (
    (frozenset({Cause.AUDIT}), (AuditUnavailable, "The ledger cannot be written, so nothing is sent.")),
    (frozenset({Cause.GATE_LOST}), (GateUnavailable, "The gate is starting again; try again.")),
    (frozenset({Cause.STALE_POLICY}), (Unavailable, "The policy has just changed; try again.")),
    (frozenset({Cause.COLD}), (UpstreamsUnavailable, "The model is being woken; try again.")),
    (frozenset({Cause.BUSY}), (UpstreamsBusy, "All upstreams are busy; try again.")),
    (frozenset({Cause.TOTAL_TIMEOUT}), (UpstreamTimeout, "The request took longer than its tiers allow.")),
    (_TIMEOUTS, (UpstreamTimeout, "No upstream answered in time.")),
    (frozenset({Cause.DNS}), (UpstreamFailed, _NAMELESS)),
    (frozenset({Cause.REFUSED}), (UpstreamFailed, _NOBODY_LISTENS)),
    (frozenset({Cause.POLICY}), (PolicyDenied, "The policy refuses every upstream of this model.")),
    (frozenset({Cause.MISTAKE}), (RouterError, MISTAKE)),
)
