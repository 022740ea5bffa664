"""docs/reference/tiers.md, made of the settings model and of the tables that decide; tools/reference.py writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from router.balance import BOUND, FEW, PENALTY
from router.channel.messages import Cause, Failure, Head
from router.channel.states import State
from router.failures import MOVE_ON, error_of, failure_of
from router.gate.breaker import FEWEST_FOR_A_RATE, HOLD_S, IN_A_ROW, LONGEST_HOLD_S, RATE, WINDOW_S
from router.gate.staggered import APART_S
from router.gate.watcher import LOOK_AGAIN_S, PROBE_AGAIN_S
from router.settings.reading import Key, keys_of
from router.settings.strict import Strict
from router.settings.tier_entries import TierEntry, TimeoutSettings, WarmSettings
from router.settings.upstream_entry import UpstreamSettings

Row = Callable[[Key], str]
OF_UPSTREAMS: Final = ("weight", "concurrency", "may_sleep", "backend", "third_party_host")
NOT_OF_UPSTREAMS: Final = frozenset(
    {Cause.AUDIT, Cause.STALE_POLICY, Cause.GATE_LOST, Cause.NO_RECEIPT, Cause.CANCELLED, Cause.PROTOCOL, Cause.HEDGED}
)
HAPPENS: Final = {
    Cause.POLICY: "The policy refuses the address that the name has now.",
    Cause.DNS: "The name has no address, or the resolver is silent.",
    Cause.REFUSED: "Nobody listens there.",
    Cause.TLS: "No TLS: certificate, authority or pin.",
    Cause.CONNECT_TIMEOUT: "No connection within `connect`.",
    Cause.FIRST_TOKEN_TIMEOUT: "Silence beyond `first_token`, or `answer` of what is not streamed.",
    Cause.BETWEEN_TOKENS_TIMEOUT: "Silence inside the answer beyond `between_tokens`.",
    Cause.TOTAL_TIMEOUT: "The tier's `total` is over.",
    Cause.BROKE: "A 5xx or 408, or the connection broke. A kept connection that was closed is replaced once first.",
    Cause.BAD_ANSWER: "No HTTP, compressed, without a length, of another kind than asked for, or no JSON.",
    Cause.REDIRECT: "A redirect: never followed.",
    Cause.COLD: "503, or an HTML page in place of an answer: it is starting. Asked again when it is awake.",
    Cause.BUSY: "429 (`Retry-After` is honoured), or the queue is full.",
    Cause.IDENTITY: "What answers there is a cloud, or a gateway that nobody declared.",
    Cause.CREDENTIAL: "401 or 403: our credential is wrong. Taken out, and said loudly.",
    Cause.TOO_LARGE: "Longer than `limits.answer_bytes`, or an event that never ends.",
    Cause.MISTAKE: "A mistake of ours, in the gate or the worker: the log says where (`internal_error`).",
}
STATUSES: Final = (400, 401, 403, 404, 408, 413, 422, 429, 500, 501, 502)
STATES: Final = {
    State.COLD: "Not known to answer: never asked, or a rented machine that is left asleep.",
    State.WARMING: "Asked; it loads, or is silent.",
    State.READY: "It answers.",
    State.FAILING: "Its connections or its last answers failed; the reason says how.",
}
INTRODUCTION: Final = """# Tiers

A tier is a group of upstreams of equal standing; a model names its tiers in order. A request goes to the first tier,
and on to the next upstream or tier for as long as nothing of an answer has gone out. This page is written by
`tools/reference.py` from the settings and from the tables that decide; ready-made files are in `policies/examples/`,
`ringfence explain` tells the order for a request.
"""
STREAMS: Final = """
After the first content nothing is tried again: a stream that is cut ends in an error event, or, with `continue: true`,
goes on at the next upstream that takes an unfinished answer (plain text, one choice, no tools): a comment in the stream
and `reason: continued` in the ledger say so. The rest is asked with the request's own `max_tokens`. A client that
leaves stops the upstream's work, and counts against nobody. An upstream's own 4xx (but 401, 403, 408 and 429) goes to
the client.
"""


def page(row: Row) -> str:
    """The whole page; `row` writes one key's row, as the reference of the policy file does."""
    parts = (_keys(row), _order(), _causes(), [STREAMS], _states(), _health())
    return "\n".join([INTRODUCTION, *(line for part in parts for line in part), ""])


def _keys(row: Row) -> Iterator[str]:
    tables: tuple[tuple[str, type[Strict], Iterable[str]], ...] = (
        ("Keys of a tier (`tiers[]`)", TierEntry, keys_of(TierEntry)),
        ("Its times (`tiers[].timeouts`)", TimeoutSettings, keys_of(TimeoutSettings)),
        ("Keeping it warm (`tiers[].warm`)", WarmSettings, keys_of(WarmSettings)),
        ("Keys of its upstreams that matter here (`upstreams.NAME`)", UpstreamSettings, OF_UPSTREAMS),
    )
    for title, shape, names in tables:
        yield from (f"## {title}", "", "| Key | Type | Default | What it is for |", "|---|---|---|---|")
        yield from (row(keys_of(shape)[name]) for name in names)
        yield ""
    yield f"""`total` is each tier's own: when it is over the next tier is asked, so a chain takes the sum of its tiers'
at most. Several addresses of one host are tried {APART_S:g} s apart within `connect` (RFC 8305). `TIERn_TIMEOUT`
(milliseconds) is a tier's `total`.
"""


def _order() -> Iterator[str]:
    yield f"""## Which upstream first

State comes before balance: ready, then cold, then warming, then failing; one whose places are taken, or that said 429,
stands behind its equals until then. A tier whose upstreams all fail stands behind the others.

- `round_robin`: turns by `weight`, spread.
- `least_busy`: (exchanges under way + 1) x time to first byte of successes x failures / `weight`, over all workers; one
  that only fails looks {PENALTY + 1:g} times as busy, so the node that fails fastest attracts nothing.
- `affinity`: the upstream that served this conversation before: `X-Session-ID`, else `user`, else the same first
  system and user message. One with more than {FEW} exchanges and {BOUND:g} times its share is spared.

A tier lets `concurrency` exchanges through and `queue` wait, callers in turn; `Server-Timing` tells place and wait.
"""


def _causes() -> Iterator[str]:
    yield "## What happens when an attempt fails"
    yield ""
    yield "| Ending in the ledger | What happened | Next upstream? | If none is left |"
    yield "|---|---|---|---|"
    for cause, happened in HAPPENS.items():
        error = error_of([Failure(cause)])
        yield f"| `{cause}` | {happened} | {'yes' if cause in MOVE_ON else 'no'} | {error.status} `{error.code}` |"
    yield ""
    by_status = {status: failure_of(Head(status, "")) for status in STATUSES}
    told = [f"{status} {f'`{why.cause}`' if why else 'goes to the client'}" for status, why in by_status.items()]
    yield f"By status: {', '.join(told)}."


def _states() -> Iterator[str]:
    yield "## States"
    yield ""
    yield "| State | What it means |"
    yield "|---|---|"
    yield from (f"| `{state}` | {meaning} |" for state, meaning in STATES.items())
    yield ""
    yield """Every change is logged with its reason (`upstream_state`) and counted
(`ringfence_upstream_transitions_total`); `GET /admin/upstreams` shows the last ones, and
`POST /admin/upstreams/NAME/probe` looks at once."""
    yield ""


def _health() -> Iterator[str]:
    yield f"""## Out, and back

A failed connection takes an upstream out at once; {IN_A_ROW} failures in a row do, and so do {RATE:.0%} of at least
{FEWEST_FOR_A_RATE} answers within {WINDOW_S:g} s. Probes (connect, `/health` or the list of models, never a prompt)
look after {PROBE_AGAIN_S[0]:g} s, then less often, at least every {PROBE_AGAIN_S[-1]:g} s; what is ready and ours is
looked at every {LOOK_AGAIN_S:g} s, a rented machine only when it is asked for. After bad answers a good probe counts
only after a hold of {HOLD_S:g} s, doubled with each relapse up to {LONGEST_HOLD_S:g} s; then it is on trial: the first
failure takes it out again, the first success ends the trial."""
