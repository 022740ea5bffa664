"""What carries an answer is no answer: an upstream that only drips it is as silent as one that sends nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from router.channel.exchange import ExchangeFailed
from router.channel.messages import Cause
from router.gate.events import EventSplitter
from tests.router.house import FAST, Script, house, plain, read_request, scripted

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
EVENT = b"9\r\ndata: 1\n\n\r\n"
COMMENT = b"8\r\n: ping\n\n\r\n"
SHORT = replace(FAST, cold_start_s=0.2, first_token_s=0.2, answer_s=0.2, between_tokens_s=0.2)
PATIENT = replace(
    FAST, cold_start_s=1.0, first_token_s=1.0, answer_s=1.0, between_tokens_s=1.0
)  # less than the slow event takes
DRIPS = [
    pytest.param(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", Cause.FIRST_TOKEN_TIMEOUT, id="interim answers"),
    pytest.param(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", Cause.FIRST_TOKEN_TIMEOUT, id="a head that grows"),
    pytest.param(SSE, b"0", Cause.FIRST_TOKEN_TIMEOUT, id="a chunk's size, digit by digit"),
    pytest.param(SSE, COMMENT, Cause.FIRST_TOKEN_TIMEOUT, id="comments"),
    pytest.param(SSE + b"400\r\n:", b"x", Cause.FIRST_TOKEN_TIMEOUT, id="a comment that grows"),
    pytest.param(SSE, b"1\r\n\n\r\n", Cause.FIRST_TOKEN_TIMEOUT, id="blank lines"),
    pytest.param(JSON, b" ", Cause.FIRST_TOKEN_TIMEOUT, id="white space before JSON"),
    pytest.param(SSE + EVENT, COMMENT, Cause.BETWEEN_TOKENS_TIMEOUT, id="comments in mid-stream"),
    pytest.param(SSE + EVENT, b"0", Cause.BETWEEN_TOKENS_TIMEOUT, id="a chunk's size in mid-stream"),
]


def drips(first: bytes, drop: bytes, last: bytes = b"", count: int = 200) -> Script:
    """A drop several times within the shortest patience, and for longer than that lasts."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(first)
        for _ in range(count):
            await asyncio.sleep(0.05)
            writer.write(drop)
        writer.write(last)
        await reader.read()

    return script


@pytest.mark.parametrize(("first", "drop", "cause"), DRIPS)
async def test_framing_is_silence(first: bytes, drop: bytes, cause: Cause, tmp_path: Path) -> None:
    async with scripted(drips(first, drop)) as port, house(port, tmp_path, timeouts=SHORT) as gate:
        with pytest.raises(ExchangeFailed) as caught:
            await gate.answer(stream=True)
        (outcome,) = await gate.outcomes()
        assert (caught.value.failure.cause, outcome["ending"]) == (cause, str(cause))
        assert (outcome["first_byte_ms"] < 0) is (cause is Cause.FIRST_TOKEN_TIMEOUT)


async def test_an_event_that_comes_slowly_is_no_silence(tmp_path: Path) -> None:
    script = drips(SSE + b"7\r\ndata: [\r\n", b"1\r\n1\r\n", _rest(b"]\n\ndata: [DONE]\n\n"), 25)
    async with scripted(script) as port, house(port, tmp_path, timeouts=PATIENT) as gate:
        assert await gate.answer(stream=True) == b"data: [" + b"1" * 25 + b"]\n\ndata: [DONE]\n\n"


def _rest(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)


async def test_a_connection_that_comes_back_to_a_retired_pool_is_closed(tmp_path: Path) -> None:
    """Its world is forgotten: nobody would ever use it, or close it."""
    asked, answer, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        await answer.wait()
        writer.write(plain(b"{}"))
        if not await reader.read():
            closed.set()

    async with scripted(script) as port, house(port, tmp_path) as gate:
        under_way = asyncio.ensure_future(gate.answer())
        await asked.wait()
        gate.upstreams.close()
        answer.set()
        assert await under_way == b"{}"
        async with asyncio.timeout(10):
            await closed.wait()


@pytest.mark.parametrize(
    ("piece", "spoke"),
    [
        (b": ping\n\n", False), (b"\n", False), (b": pi", False), (b"data: 1\n\n", True), (b"da", True),
        (b": ping\n\ndata", True), (b": ping\ndata: 1\n\n", True), (b"retry: 10\n\n", True), (b": a\n\n: b", False),
        (b":\r\n\r\n", False), (b"", False),
    ],
)  # fmt: skip
def test_only_comments_say_nothing(piece: bytes, spoke: bool) -> None:
    splitter = EventSplitter()
    splitter.feed(piece)
    assert splitter.spoke is spoke
