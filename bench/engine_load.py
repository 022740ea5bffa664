"""Closed bursts of streamed chats against one OpenAI-compatible server, timed token by token."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from dataclasses import dataclass, field

import httpx


@dataclass(slots=True)
class Timing:
    """Seconds since the burst began at which each piece of text arrived."""

    started: float
    pieces: list[float] = field(default_factory=list)
    text: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Burst:
    """One burst of N chats. Milliseconds, but for `rate` in tokens per second over all chats together."""

    chats: int
    rate: float
    first_p50: float
    first_p95: float
    between_p50: float
    between_p95: float


def question(number: int, words: int) -> str:
    """About `words` words, different from the first word on for every number, so that no prefix is shared."""
    filler = " ".join(f"item{(number * 7919 + index * 104729) % 1000}" for index in range(words))
    return f"Number {number}: write a long story about these things: {filler}"


async def chat(client: httpx.AsyncClient, body: dict[str, object], began: float) -> Timing:
    timing = Timing(time.perf_counter() - began)
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code}: {(await answer.aread())[:300]!r}")
        async for line in answer.aiter_lines():
            _read_event(line, timing, began)
    return timing


def _read_event(line: str, timing: Timing, began: float) -> None:
    if not line.startswith("data: ") or line == "data: [DONE]":
        return
    event = json.loads(line.removeprefix("data: "))
    if usage := event.get("usage"):
        timing.tokens = usage["completion_tokens"]
    for choice in event["choices"]:
        if text := choice["delta"].get("content"):
            timing.text += text
            timing.pieces.append(time.perf_counter() - began)


async def burst(
    client: httpx.AsyncClient, chats: int, tokens: int, words: int, seed: int
) -> tuple[Burst, list[Timing]]:
    """N chats at once; every answer has exactly `tokens` tokens, since the end token is forbidden."""
    bodies = [
        {
            "messages": [{"role": "user", "content": question(seed * 1000 + number, words)}],
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "logit_bias": {"2": -100, "0": -100},
        }
        for number in range(chats)
    ]
    began = time.perf_counter()
    timings = await asyncio.gather(*(chat(client, body, began) for body in bodies))
    seconds = time.perf_counter() - began
    return summary(timings, seconds), timings


def summary(timings: list[Timing], seconds: float) -> Burst:
    first = [timing.pieces[0] - timing.started for timing in timings]
    between = [
        later - earlier for timing in timings for earlier, later in zip(timing.pieces, timing.pieces[1:], strict=False)
    ]
    total = sum(timing.tokens or len(timing.pieces) for timing in timings)  # a peer may not send its usage
    values = (percentile(first, 50), percentile(first, 95), percentile(between, 50), percentile(between, 95))
    return Burst(len(timings), total / seconds, *(1000 * value for value in values))


def percentile(values: list[float], percent: int) -> float:
    return values[0] if len(values) < 2 else statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
