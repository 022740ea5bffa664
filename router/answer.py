"""One upstream's answer: whether it is one at all, and its way to the client.

An answer has begun with its first event, or, if it is no stream, when it is whole: until then another upstream may
still answer in its place, and nothing of this one has gone out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import msgspec

from router.channel.exchange import Exchange, ExchangeFailed
from router.channel.messages import Cause, Failure, Head, Queued
from router.errors import UpstreamRefused, as_openai
from router.failures import failure_of
from router.reply import UNSAFE, Headers, Reply
from router.tiers import Attempt

EVENT_STREAM = "text/event-stream"
JSON = "application/json"
Hear = Callable[[bytes], None]


class Answer(msgspec.Struct, frozen=True):
    """An answer that has begun. `first`: its first events, or the whole body; None: a stream without any event."""

    attempt: Attempt
    exchange: Exchange
    head: Head
    first: bytes | None
    streamed: bool = False


class Whole(msgspec.Struct, frozen=True):
    """An answer that was there whole and at once: `head`, its headers as lines (safe, without the last line's end)."""

    status: int
    head: bytes
    body: bytes


def whole_at_once(exchange: Exchange, most_bytes: int) -> bytes | None:
    """The body of an answer that nothing is left to ask about, as most are; None: let `begin` have a closer look."""
    head, chunks = exchange.head, exchange.chunks
    if head is None or head.status != 200 or not head.content_type.startswith(JSON):
        return None
    good = exchange.ended and len(chunks) == 1 and len(chunks[0]) <= most_bytes and is_json(chunks[0])
    return chunks[0] if good else None


async def begin(exchange: Exchange, attempt: Attempt, wanted: str, most_bytes: int) -> Answer:
    """Wait until the answer has begun; ExchangeFailed when it is none. `wanted`: the content type asked for."""
    head = await exchange.opened(JSON if wanted == JSON else "")
    failure = failure_of(head)
    if failure is not None:
        raise ExchangeFailed(failure)
    if head.status >= 400:
        return _refusal(exchange, attempt, head, await _whole(exchange, most_bytes))
    if not head.content_type.startswith(wanted):
        raise ExchangeFailed(Failure(Cause.BAD_ANSWER, "not the kind of answer that was asked for"))
    if wanted == EVENT_STREAM:
        return Answer(attempt, exchange, head, await _first_event(exchange), streamed=True)
    body = await _whole(exchange, most_bytes)
    if not is_json(body):
        raise ExchangeFailed(Failure(Cause.BAD_ANSWER, "not the JSON that its head promises"))
    return Answer(attempt, exchange, head, body)


def headers_of(head: Head, attempt: Attempt, model: str) -> tuple[Headers, Headers, Headers]:
    """What of an answer's headers is the same for many: before the request's id, between that and the index of its
    record, and after the timing. `model`: its name, where the client wrote another.
    """
    before = [(b"content-type", head.content_type.encode("latin-1"))]
    between = [
        (b"x-ringfence-tier", attempt.tier.encode()),
        (b"x-ringfence-upstream", attempt.upstream.encode()),
        (b"x-ringfence-attempts", str(attempt.number).encode()),
    ]
    after = [(b"x-ringfence-model", model.encode())] if model else []
    if head.clamped:
        after.append((b"x-ringfence-clamped", head.clamped.encode("latin-1")))
    return before, between, after


@lru_cache(maxsize=1024)
def lines_of(head: Head, attempt: Attempt, model: str) -> tuple[bytes, bytes, bytes]:
    """As `headers_of`: the lines, with the names of what stands between them."""
    before, between, after = (
        b"".join(b"\r\n%b: %b" % (name, UNSAFE.sub(b"", value)) for name, value in part)
        for part in headers_of(head, attempt, model)
    )
    return before[2:] + b"\r\nx-request-id: ", between + b"\r\nx-ringfence-record: ", after


def timing(began: float, queued: Queued | None) -> bytes:
    """Server-Timing (W3C): milliseconds; of the queue its place in it when it came, if it had to wait at all."""
    total = b"upstream;dur=%.1f" % ((time.monotonic() - began) * 1000)
    if queued is None:
        return total
    return b'queue;dur=%.1f;desc="position %d", %b' % (queued.waited_s * 1000, queued.position, total)


async def deliver(answer: Answer, reply: Reply, headers: Headers, hear: Hear | None) -> None:
    """Pass a stream on to its end; ExchangeFailed when the upstream cuts it. `hear`: is told what passes."""
    if not reply.started:
        await reply.start(answer.head.status, headers)
    data = answer.first
    while data is not None:
        if hear is not None:
            hear(data)
        await reply.write(data)
        data = await answer.exchange.chunk(reply.pour if hear is None else None)
    await reply.finish()


async def deliver_whole(answer: Answer, reply: Reply, headers: Headers) -> None:
    """What is no stream goes out in one piece."""
    body = answer.first or b""
    if reply.started:  # heartbeats went out: this stream's status is spent
        await reply.write(b"data: " + b" ".join(body.splitlines()) + b"\n\n")
        await reply.finish()
    else:
        await reply.whole(answer.head.status, headers, body)


async def _first_event(exchange: Exchange) -> bytes | None:
    """The first events that are more than comments: a server's heartbeat is no content yet."""
    while (data := await exchange.chunk()) is not None:
        if not all(not line or line.startswith(b":") for line in data.split(b"\n")):
            return data
    return None


async def _whole(exchange: Exchange, most_bytes: int) -> bytes:
    """An answer that is not a stream is held until it is whole, so a cut one never reaches a client."""
    chunks: list[bytes] = []
    left = most_bytes
    while left >= 0 and not exchange.ended:
        chunks.append(await exchange.chunk() or b"")
        left -= len(chunks[-1])
    body = b"".join((*chunks, exchange.rest())) if chunks else exchange.rest()
    if len(body) > most_bytes:
        raise ExchangeFailed(Failure(Cause.TOO_LARGE, f"more than {most_bytes} bytes"))
    return body


def _refusal(exchange: Exchange, attempt: Attempt, head: Head, body: bytes) -> Answer:
    """A 4xx in JSON goes on unchanged. A proxy's page or bare text would break every client: it is put in our words."""
    if head.content_type.startswith(JSON) and is_json(body):
        return Answer(attempt, exchange, head, body)
    error = UpstreamRefused(f"The upstream refuses this request with status {head.status} and gives no reason in JSON.")
    return Answer(attempt, exchange, Head(head.status, JSON, head.retry_after, head.clamped), as_openai(error))


def is_json(body: bytes) -> bool:
    """Well-formed JSON? Read over, not built: 13 µs for 25 KB."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):  # too deep for us, so for most clients
        return False
    return True
