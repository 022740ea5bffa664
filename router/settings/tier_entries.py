"""The shape of a tier in the policy file: its times, its balance, how it is kept warm."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from router.settings.strict import Duration, Strict


class TimeoutSettings(Strict):
    connect: Duration = Field(default=2.0, gt=0, description="Until the connection stands.")
    cold_start: Duration | None = Field(
        default=None, description="Until a cold upstream answers (default `180s`, within `total`)."
    )
    answer: Duration | None = Field(
        default=None,
        gt=0,
        description="From the request sent to the end of an answer that is not streamed (default: half of `total`).",
    )
    first_token: Duration = Field(
        default=60.0,
        gt=0,
        description="From the request sent to the first token of a stream, or to vectors or ranks, of a warm upstream.",
    )
    between_tokens: Duration = Field(
        default=30.0, gt=0, description="The longest silence inside an answer; comments of a stream are silence."
    )
    total: Duration = Field(
        default=600.0,
        gt=0,
        description="All that a request may spend in this tier, its attempts together; then the next tier is asked. "
        "The other times are never longer.",
    )


class WarmSettings(Strict):
    every: Duration = Field(default=0.0, description="Warm the tier this often; leave away to warm only when asked.")


class TierEntry(Strict):
    name: str = Field(description="The tier's name, in headers and in the ledger.")
    upstreams: tuple[str, ...] = Field(min_length=1, description="Upstreams of equal standing, by name.")
    balance: Literal["round_robin", "least_busy", "affinity"] = Field(
        default="round_robin",
        description="Which upstream of the tier is tried first: in turn by weight, by exchanges under way and speed of "
        "successes, or the one that served this conversation before (`X-Session-ID`, `user`, or the same opening).",
    )
    timeouts: TimeoutSettings = Field(default=TimeoutSettings(), description="How long each step may take.")
    concurrency: int = Field(default=64, ge=1, le=100_000, description="Exchanges at the same time.")
    queue: int = Field(default=128, ge=0, le=100_000, description="Requests that may wait for a place.")
    hedge_after: Duration = Field(
        default=0.0,
        description="After so long a silence the next in order is asked too, and the first to answer wins; the other "
        "is cancelled. Both may generate meanwhile: a stream begins with its first token, but an answer that is not "
        "streamed comes when it is whole, so one that takes longer than this is generated twice, and costs twice.",
    )
    continue_: bool = Field(
        default=False,
        alias="continue",
        description="Whether a chat's stream that breaks in this tier is continued by the next upstream in order that "
        "takes an unfinished answer (`llama_cpp`, `vllm`): marked in the stream and in the ledger.",
    )
    warm: WarmSettings = Field(default=WarmSettings(), description="Keeping the tier warm.")
