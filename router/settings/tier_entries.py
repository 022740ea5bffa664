"""The shape of a tier in the policy file: its times, its balance, how it is kept warm."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from router.settings.strict import Duration, Strict


class TimeoutSettings(Strict, frozen=True):
    connect: Annotated[Duration, Meta(gt=0, description="Until the connection stands.")] = 2.0
    cold_start: Annotated[
        Duration | None, Meta(description="Until a cold upstream answers (default `180s`, within `total`).")
    ] = None
    answer: Annotated[
        Duration | None,
        Meta(
            gt=0,
            description="From the request sent to the end of an answer that is not streamed (default: half of "
            "`total`).",
        ),
    ] = None
    first_token: Annotated[
        Duration,
        Meta(
            gt=0,
            description="From the request sent to the first token of a stream, or to vectors or ranks, of a warm "
            "upstream.",
        ),
    ] = 60.0
    between_tokens: Annotated[
        Duration, Meta(gt=0, description="The longest silence inside an answer; comments of a stream are silence.")
    ] = 30.0
    total: Annotated[
        Duration,
        Meta(
            gt=0,
            description="All that a request may spend in this tier, its attempts together; then the next tier is "
            "asked. "
            "The other times are never longer.",
        ),
    ] = 600.0


class WarmSettings(Strict, frozen=True):
    every: Annotated[Duration, Meta(description="Warm the tier this often; leave away to warm only when asked.")] = 0.0


class TierEntry(Strict, frozen=True):
    name: Annotated[str, Meta(description="The tier's name, in headers and in the ledger.")]
    upstreams: Annotated[tuple[str, ...], Meta(min_length=1, description="Upstreams of equal standing, by name.")]
    balance: Annotated[
        Literal["round_robin", "least_busy", "affinity"],
        Meta(
            description="Which upstream of the tier is tried first: in turn by weight, by exchanges under way and "
            "speed of "
            "successes, or the one that served this conversation before (`X-Session-ID`, `user`, or the same opening)."
        ),
    ] = "round_robin"
    timeouts: Annotated[TimeoutSettings, Meta(description="How long each step may take.")] = TimeoutSettings()
    concurrency: Annotated[int, Meta(ge=1, le=100_000, description="Exchanges at the same time.")] = 64
    queue: Annotated[int, Meta(ge=0, le=100_000, description="Requests that may wait for a place.")] = 128
    hedge_after: Annotated[
        Duration,
        Meta(
            description="After so long a silence the next in order is asked too, and the first to answer wins; the "
            "other "
            "is cancelled. Both may generate meanwhile: a stream begins with its first token, but an answer that is "
            "not "
            "streamed comes when it is whole, so one that takes longer than this is generated twice, and costs twice."
        ),
    ] = 0.0
    continue_: Annotated[
        bool,
        Meta(
            description="Whether a chat's stream that breaks in this tier is continued by the next upstream in order "
            "that "
            "takes an unfinished answer (`llama_cpp`, `vllm`): marked in the stream and in the ledger."
        ),
    ] = field(default=False, name="continue")
    warm: Annotated[WarmSettings, Meta(description="Keeping the tier warm.")] = WarmSettings()
