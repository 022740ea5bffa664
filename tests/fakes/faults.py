"""Everything that can go wrong with an upstream, by name. Each fault answers one generating request its own way."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable

from tests.fakes import answers
from tests.fakes.generation import Generation
from tests.fakes.wire import chunk, head, whole

FOREVER_S = 3600.0
EVENT_STREAM = ("Content-Type", "text/event-stream")
CHUNKED = ("Transfer-Encoding", "chunked")
HTML = b"<!doctype html><html><body>Your Space is starting</body></html>"
ELSEWHERE = "http://203.0.113.7/v1/chat/completions"
Fault = Callable[[Generation], Awaitable[None]]

# These are made where connections are accepted, for probes too.
AT_ACCEPT = frozenset({"refuse", "blackhole", "reset_connect"})
# And these answer every request so, probes too, as a server that is not up does.
FOR_PROBES = frozenset({"loading", "html"})


async def reset_headers(generation: Generation) -> None:
    await generation.wire.send(b"HTTP/1.1 200 OK\r\nContent-Ty")
    generation.wire.reset()


async def reset_first_byte(generation: Generation) -> None:
    await generation.wire.send(generation.head())
    await asyncio.sleep(0.02)
    generation.wire.reset()


async def reset_mid_event(generation: Generation) -> None:
    await generation.some(2, half=True)
    await asyncio.sleep(0.02)
    generation.wire.reset()


async def reset_before_done(generation: Generation) -> None:
    await generation.all_but_the_end()
    await asyncio.sleep(0.02)
    generation.wire.reset()


async def close_before_done(generation: Generation) -> None:
    """A clean end of the HTTP answer, but the stream's own end is missing."""
    await generation.all_but_the_end()
    if generation.streaming:
        await generation.wire.send(chunk(b""))
    generation.wire.close()


async def stall(generation: Generation) -> None:
    await generation.some(2, half=False)
    await generation.while_watching(asyncio.sleep(FOREVER_S))


async def stall_before_head(generation: Generation) -> None:
    await generation.while_watching(asyncio.sleep(FOREVER_S))


async def stall_before_first_byte(generation: Generation) -> None:
    await generation.wire.send(generation.head())
    await generation.while_watching(asyncio.sleep(FOREVER_S))


async def trickle(generation: Generation) -> None:
    await generation.wire.trickle(generation.everything())


async def split(generation: Generation) -> None:
    """Every byte of every event is a chunk, and a write, of its own."""
    await generation.wire.send(generation.head())
    for byte in generation.body():
        await generation.wire.send(chunk(bytes([byte])) if generation.streaming else bytes([byte]))
        await asyncio.sleep(0)
    if generation.streaming:
        await generation.wire.send(chunk(b""))


async def crlf(generation: Generation) -> None:
    await generation.wire.trickle(generation.everything(lambda body: body.replace(b"\n", b"\r\n")), 7)


async def no_space(generation: Generation) -> None:
    await generation.wire.send(generation.everything(lambda body: body.replace(b"data: ", b"data:")))


async def garbage(generation: Generation) -> None:
    await generation.wire.send(bytes(range(256)) * 8)
    generation.wire.close()


async def garbage_body(generation: Generation) -> None:
    """The right content type, and then no JSON and no event."""
    await generation.wire.send(generation.everything(lambda _body: b"\xff\x00{]" * 8 + b"\n\n"))


async def wrong_type(generation: Generation) -> None:
    await generation.wire.send(whole(200, b"fine, thanks", content_type="text/plain"))


async def cr(generation: Generation) -> None:
    await generation.wire.trickle(generation.everything(lambda body: body.replace(b"\n", b"\r")), 7)


async def shouting_type(generation: Generation) -> None:
    """A content type in another case (RFC 9110, 8.3.1)."""
    await generation.wire.send(
        generation.everything()
        .replace(b"text/event-stream", b"Text/Event-Stream")
        .replace(b"application/json", b"APPLICATION/JSON")
    )


async def html_404(generation: Generation) -> None:
    """A proxy before the model server, whose path is wrong."""
    await generation.wire.send(whole(404, HTML, content_type="text/html"))


async def text_413(generation: Generation) -> None:
    await generation.wire.send(whole(413, b"too big", content_type="text/plain"))


async def html(generation: Generation) -> None:
    await generation.wire.send(whole(200, HTML, content_type="text/html; charset=utf-8"))


async def loading(generation: Generation) -> None:
    body = answers.error("Loading model", "loading")
    await generation.wire.send(whole(503, body, ("Retry-After", "1")))


async def status(generation: Generation, number: int, *headers: tuple[str, str]) -> None:
    await generation.wire.send(whole(number, answers.error(f"status {number} says the fake", "fake"), *headers))


def _status(number: int, *headers: tuple[str, str]) -> Fault:
    async def answer(generation: Generation) -> None:
        await status(generation, number, *headers)

    return answer


async def upgrade(generation: Generation) -> None:
    await generation.wire.send(head(101, ("Connection", "Upgrade"), ("Upgrade", "websocket")))
    await generation.while_watching(asyncio.sleep(FOREVER_S))


async def zipped(generation: Generation) -> None:
    body = gzip.compress(generation.body())
    await generation.wire.send(whole(200, body, ("Content-Encoding", "gzip"), content_type=generation.content_type))


async def endless_stream(generation: Generation) -> None:
    await generation.wire.send(head(200, EVENT_STREAM, CHUNKED))
    await generation.while_watching(generation.generate(10**9))


async def endless_event(generation: Generation) -> None:
    await generation.wire.send(head(200, EVENT_STREAM, CHUNKED) + chunk(b"data: "))
    while True:
        await generation.wire.send(chunk(b"x" * 65536))


async def endless_body(generation: Generation) -> None:
    await generation.wire.send(head(200, ("Content-Type", "application/json"), CHUNKED) + chunk(b'{"x":"'))
    while True:
        await generation.wire.send(chunk(b"x" * 65536))


async def two_lengths(generation: Generation) -> None:
    body = generation.body()
    await generation.wire.send(
        whole(200, body, ("Content-Length", str(len(body) + 1)), content_type=generation.content_type)
    )


async def length_and_chunked(generation: Generation) -> None:
    body = chunk(generation.body()) + chunk(b"")
    await generation.wire.send(whole(200, body, CHUNKED, content_type=generation.content_type))


async def folded_header(generation: Generation) -> None:
    plain = generation.everything()
    await generation.wire.send(plain.replace(b"\r\n", b"\r\nX-Folded: one\r\n two\r\n", 1))


async def giant_headers(generation: Generation) -> None:
    plain = generation.everything()
    await generation.wire.send(plain.replace(b"\r\n", b"\r\nX-Giant: " + b"g" * 70_000 + b"\r\n", 1))


async def many_headers(generation: Generation) -> None:
    lines = b"".join(b"X-Many-%d: 1\r\n" % number for number in range(200))
    await generation.wire.send(generation.everything().replace(b"\r\n", b"\r\n" + lines, 1))


async def close_delimited(generation: Generation) -> None:
    await generation.wire.send(
        head(200, ("Content-Type", generation.content_type), ("Connection", "close")) + generation.body()
    )
    generation.wire.close()


async def stale(generation: Generation) -> None:
    """Answer well, then close without having said so: the next request on this connection is lost."""
    await generation.wire.send(generation.everything())
    await asyncio.sleep(0.01)
    generation.wire.close()


async def slow_reader(generation: Generation) -> None:
    """The body was read slowly (see upstream.py); the answer is a plain one."""
    await generation.wire.send(generation.everything())


FAULTS: dict[str, Fault] = {
    function.__name__: function
    for function in (
        reset_headers, reset_first_byte, reset_mid_event, reset_before_done, close_before_done, stall,
        stall_before_head, stall_before_first_byte, trickle, split, crlf, cr, shouting_type, no_space, garbage,
        garbage_body, wrong_type, html, html_404, text_413, loading, upgrade, endless_stream, endless_event,
        endless_body, two_lengths, length_and_chunked, folded_header, giant_headers, many_headers, close_delimited,
        stale, slow_reader,
    )
} | {
    "gzip": zipped,
    "busy": _status(429, ("Retry-After", "7")),
    **{f"status_{number}": _status(number) for number in (400, 401, 403, 404, 408, 422, 500, 502, 504)},
    **{f"redirect_{number}": _status(number, ("Location", ELSEWHERE)) for number in (301, 302, 303, 307, 308)},
}  # fmt: skip
NAMES = tuple(sorted(AT_ACCEPT | FAULTS.keys()))
