"""Closed bursts of streamed chats against one OpenAI-compatible server, timed token by token.

The client is a bare socket reader that notes when each line came and parses nothing until the burst is over: on a
machine with two cores an ordinary HTTP client takes so much of them that it would be measured instead.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from dataclasses import dataclass, field

HEAD = "POST /v1/chat/completions HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\nConnection: close\r\n"


@dataclass(slots=True)
class Timing:
    """Seconds since the burst began at which each piece of text arrived."""

    started: float
    pieces: list[float] = field(default_factory=list)
    text: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Burst:
    """One burst of N chats. Milliseconds, but for `rate` in tokens per second over all chats together.

    `cpu` is the server's processor time for each generated token, its prompt's share included.
    """

    chats: int
    rate: float
    first_p50: float
    first_p95: float
    between_p50: float
    between_p95: float
    cpu: float = 0.0


def question(number: int, words: int) -> str:
    """About `words` words, different from the first word on for every number, so that no prefix is shared."""
    filler = " ".join(f"item{(number * 7919 + index * 104729) % 1000}" for index in range(words))
    return f"Number {number}: write a long story about these things: {filler}"


async def chat(port: int, body: bytes, began: float) -> Timing:
    timing = Timing(time.perf_counter() - began)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.write(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    lines: list[tuple[float, bytes]] = []
    try:
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"{status!r}: {(await reader.read(2000))!r}")
        while line := await reader.readline():
            if line.startswith(b"data: {"):
                lines.append((time.perf_counter() - began, line))
    finally:
        writer.close()
    for moment, line in lines:
        _read_event(json.loads(line[6:]), timing, moment)
    return timing


def _read_event(event: dict[str, object], timing: Timing, moment: float) -> None:
    usage, choices = event.get("usage"), event["choices"]
    if isinstance(usage, dict):
        timing.tokens = usage["completion_tokens"]
    for choice in choices if isinstance(choices, list) else []:
        if text := choice["delta"].get("content"):
            timing.text += text
            timing.pieces.append(moment)


async def burst(port: int, chats: int, tokens: int, words: int, seed: int) -> tuple[Burst, list[Timing]]:
    """N chats at once; every answer has exactly `tokens` tokens, since the end token is forbidden."""
    bodies = [_body(question(seed * 1000 + number, words), tokens) for number in range(chats)]
    began = time.perf_counter()
    timings = await asyncio.gather(*(chat(port, body, began) for body in bodies))
    seconds = time.perf_counter() - began
    return summary(timings, seconds), timings


def _body(content: str, tokens: int) -> bytes:
    body = {
        "messages": [{"role": "user", "content": content}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "logit_bias": {"2": -100, "0": -100},
    }
    return json.dumps(body).encode()


def summary(timings: list[Timing], seconds: float) -> Burst:
    first = [timing.pieces[0] - timing.started for timing in timings]
    between = [
        later - earlier for timing in timings for earlier, later in zip(timing.pieces, timing.pieces[1:], strict=False)
    ]
    values = (percentile(first, 50), percentile(first, 95), percentile(between, 50), percentile(between, 95))
    return Burst(len(timings), generated(timings) / seconds, *(1000 * value for value in values))


def generated(timings: list[Timing]) -> int:
    """Tokens; a peer that sends no usage sends one piece for each."""
    return sum(timing.tokens or len(timing.pieces) for timing in timings)


def percentile(values: list[float], percent: int) -> float:
    return values[0] if len(values) < 2 else statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
