"""A worker that is taken over speaks to the gate as it likes: nothing but its own channel suffers."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from router.channel import frames
from router.channel.frames import COUNT, HEADER, ChannelError, Kind, Splitter, pack
from router.channel.messages import Ask, Cause, Denial, Failure, Look, Open, Warm, decode, encode
from router.gate import questions, server
from router.gate.metrics import MOST_REASONS, Metrics
from tests.router.house import House, answering, house, plain, scripted

OK = plain(b'{"ok":true}')
BODY = b'{"model":"m"}'
OPENED = ["r-1", "anonymous", "m", "chat/completions", "t", "u", 1, False, len(BODY), "digest"]
MEMBERS = b"".join(msgspec.msgpack.encode(member) for member in [*OPENED, None, 5.0, False, False])
NOTHING = Failure(Cause.BUSY, "256 questions wait already", 1.0)


def opening(place: int, value: object) -> bytes:
    """An Open message with one member changed; as MessagePack, whatever it is."""
    return msgspec.msgpack.encode([*OPENED[:place], value, *OPENED[place + 1 :]])


@asynccontextmanager
async def channel(parts: House) -> AsyncIterator[socket.socket]:
    """One more worker's end, without our client."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    await parts.gate.attach(ours)
    with theirs:
        yield theirs


async def told(sock: socket.socket, number: int, count: int = 1) -> list[tuple[Kind, bytes]]:
    """So many frames of one exchange."""
    splitter, found = Splitter(), list[tuple[Kind, bytes]]()
    async with asyncio.timeout(10):
        while len(found) < count:
            data = await asyncio.get_running_loop().sock_recv(sock, 1 << 16)
            assert data, "its channel was closed"
            found += [(kind, payload) for exchange, kind, payload in splitter.feed(data) if exchange == number]
    return found


async def closed(sock: socket.socket) -> None:
    async with asyncio.timeout(10):
        while await asyncio.get_running_loop().sock_recv(sock, 1 << 16):
            pass


NO_FRAMES = {
    "no UTF-8": pack(1, Kind.OPEN, msgspec.msgpack.encode(OPENED).replace(b"anonymous", b"anonym\xf6us")),
    "too deep": pack(1, Kind.OPEN, b"\xdc\x00\x0f" + MEMBERS + b"\x91" * 90_000 + b"\xc0"),
    "a caller without end": pack(1, Kind.OPEN, opening(1, "x" * 2000)),
    "no model": pack(1, Kind.OPEN, opening(2, "")),
    "an upstream without end": pack(1, Kind.OPEN, opening(5, "x" * 2000)),
    "a policy without end": pack(1, Kind.OPEN, opening(9, "x" * 2000)),
    "a reason without end": pack(1, Kind.DENY, encode(Denial("r", "c", "m", "e", "x" * 2000))),
    "a wait that is no number": pack(1, Kind.WARM, encode(Warm("", math.nan))),
    "a wait for ever": pack(1, Kind.WARM, encode(Warm("", math.inf))),
    "a look for ever": pack(1, Kind.REPORT, encode(Look("u", math.inf))),
    "a warm-up's number twice": pack(1, Kind.WARM, encode(Warm("", 9.0))) * 2,
    "what only the gate says": pack(1, Kind.STATES, b"[]"),
    "a credit that is none": pack(1, Kind.OPEN, msgspec.msgpack.encode(OPENED)) + pack(1, Kind.CREDIT, b"x"),
    "a frame without end": HEADER.pack(frames.LARGEST + 1, 1, Kind.OPEN),
}


@pytest.mark.parametrize("sent", NO_FRAMES.values(), ids=NO_FRAMES)
async def test_nonsense_ends_its_channel_and_nothing_else(sent: bytes, tmp_path: Path) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context.get("exception")))
    async with scripted(answering(OK)) as port, house(port, tmp_path) as parts:
        async with channel(parts) as sock:
            await asyncio.get_running_loop().sock_sendall(sock, sent)
            await closed(sock)
        assert await parts.answer() == b'{"ok":true}'
        await parts.outcomes()
        assert parts.gate._idle.is_set()
        assert not parts.gate._bodies._held
    assert [type(error) for error in told] == [ChannelError]  # no mistake of ours, of which a traceback would tell
    assert "anonym" not in str(told)


async def test_a_worker_that_reads_nothing_is_not_read_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each small question has a large answer: unread, they would fill the gate's memory."""
    monkeypatch.setattr(server, "MOST_UNREAD", 200_000)
    one = pack(1, Kind.METRICS)
    async with scripted(answering(OK)) as port, house(port, tmp_path) as parts, channel(parts) as sock:
        sent = await _asked_until_refused(sock, one * 100)
        assert 0 < sent < 1000
        assert await parts.answer() == b'{"ok":true}'  # others do not wait for it
        assert len(await told(sock, 1, sent * 100)) >= sent * 100  # once it reads, it is heard again, and none is lost


async def _asked_until_refused(sock: socket.socket, piece: bytes) -> int:
    """How many of these were taken before nothing more was, of a thousand."""
    for sent in range(1000):
        try:
            async with asyncio.timeout(2):
                await asyncio.get_running_loop().sock_sendall(sock, piece)
        except TimeoutError:
            return sent
        await asyncio.sleep(0)
    return 1000


async def test_a_worker_has_one_channel_however_often_it_says_that_it_lost_it(tmp_path: Path) -> None:
    async with scripted(answering(OK)) as port, house(port, tmp_path) as parts:
        channels = [socket.socketpair() for _ in range(5)]
        for ours, theirs in channels:
            theirs.setblocking(False)
            await parts.gate.attach(ours, "worker-0")
        for _, theirs in channels[:-1]:
            await closed(theirs)
        newest = channels[-1][1]
        await asyncio.get_running_loop().sock_sendall(newest, pack(9, Kind.METRICS))
        assert await told(newest, 9)
        assert len(parts.gate._desks) == 2  # its own, and the house's
        for _, theirs in channels:
            theirs.close()


async def test_a_channel_that_is_lost_unread_is_gone_with_what_waits_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A close that waits for its last byte to be read would keep each of them for ever."""
    monkeypatch.setattr(server, "MOST_UNREAD", 200_000)
    async with scripted(answering(OK)) as port, house(port, tmp_path) as parts:
        (ours, theirs), (newer, others) = socket.socketpair(), socket.socketpair()
        with theirs, others:
            theirs.setblocking(False)
            await parts.gate.attach(ours, "worker-0")
            await _asked_until_refused(theirs, pack(1, Kind.METRICS) * 100)
            await parts.gate.attach(newer, "worker-0")
            await asyncio.sleep(0)
            assert len(parts.gate._desks) == 2  # the newest, and the house's


async def test_few_questions_are_answered_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "MOST_QUESTIONS", 2)
    asked = (
        pack(1, Kind.METRICS)
        + pack(2, Kind.REPORT, encode(Look("u", 5.0)))
        + pack(3, Kind.RECEIPT, encode(Ask(0, "c")))
    )
    async with scripted(answering(OK)) as port, house(port, tmp_path) as parts, channel(parts) as sock:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, asked)
        [(kind, payload)] = await told(sock, 3)
        assert (kind, decode(Failure, payload)) == (
            Kind.FAIL,
            msgspec.structs.replace(NOTHING, detail="2 questions wait already"),
        )
        await loop.sock_sendall(sock, pack(4, Kind.METRICS))
        [(kind, payload)] = await told(sock, 4)
        assert kind is Kind.ROWS


async def test_denials_that_wait_for_the_disk_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its channel stays: a client that is denied without end, while a disk hangs, takes it from nobody else."""
    monkeypatch.setattr(questions, "MOST_DENIALS", 3)
    async with scripted(answering(OK)) as port, house(port, tmp_path) as parts, channel(parts) as sock:
        parts.ledger.held = True
        for number in range(4):
            await asyncio.get_running_loop().sock_sendall(
                sock, pack(number, Kind.DENY, encode(Denial("r", "c", "m", "e", "invalid_json")))
            )
        [(kind, payload)] = await told(sock, 3)
        assert (kind, decode(Failure, payload).cause) == (Kind.FAIL, Cause.AUDIT)
        parts.ledger.held = False
        parts.ledger.told(len(parts.ledger.records) - 1)
        assert [kind for kind, _ in await told(sock, 2)] == [Kind.RECORD]
        assert await parts.answer() == b'{"ok":true}'


async def test_a_report_on_an_upstream_that_is_gone_has_no_rows(tmp_path: Path) -> None:
    """A worker may ask by the settings before these: it would wait for ever."""
    async with scripted(answering(OK)) as port, house(port, tmp_path) as parts, channel(parts) as sock:
        await asyncio.get_running_loop().sock_sendall(sock, pack(1, Kind.REPORT, encode(Look("gone", 5.0))))
        assert await told(sock, 1) == [(Kind.ROWS, b"[]")]


def test_neither_content_nor_ever_new_words_get_into_the_metrics() -> None:
    metrics = Metrics()
    metrics.denial('my prompt"} 1\nanother_metric{x="')
    for number in range(2 * MOST_REASONS):
        metrics.denial("invalid_" + chr(97 + number % 26) * (1 + number // 26))
    text = metrics.text([], {})
    assert "prompt" not in text
    assert text.count("ringfence_denials_total{") == MOST_REASONS
    assert f'reason="other"}} {MOST_REASONS + 2}' in text


async def test_credit_without_measure_is_just_credit(tmp_path: Path) -> None:
    async with scripted(answering(OK)) as port, house(port, tmp_path) as parts, channel(parts) as sock:
        message = encode(msgspec.msgpack.decode(msgspec.msgpack.encode(OPENED), type=Open))
        begun = pack(7, Kind.OPEN, message) + pack(7, Kind.CREDIT, COUNT.pack(2**64 - 1)) * 3
        await asyncio.get_running_loop().sock_sendall(sock, begun + pack(7, Kind.BODY, BODY))
        [(kind, payload)] = await told(sock, 7)
        assert (kind, payload[-11:]) == (Kind.ANSWER, b'{"ok":true}')
