"""One exchange through a real channel and a real socket: what is relayed, what fails and how, what is recorded."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from policies import Endpoint
from router.audit import Kind
from router.channel.exchange import ExchangeFailed
from router.channel.frames import COUNT, HEADER, PIECE, WINDOW, Splitter, pack
from router.channel.frames import Kind as Frame
from router.channel.messages import Cause, Denial, Open, encode
from router.channel.states import State
from router.gate.admission import Admission
from router.gate.connection import UpstreamFault
from tests.router.house import House, Script, answering, house, plain, read_request, scripted, streamed

OK = plain(b'{"ok":true}')
DONE = b"data: [DONE]\n\n"


async def failure(script: Script, directory: Path, **changes: object) -> tuple[Cause, str]:
    """How an exchange with such an upstream ends, and the ending that the ledger holds."""
    async with scripted(script) as port, house(port, directory) as gate:
        with pytest.raises(ExchangeFailed) as caught:
            await gate.answer(**changes)
        (outcome,) = await gate.outcomes()
    return caught.value.failure.cause, outcome["ending"]


async def test_an_answer_comes_through_and_leaves_its_two_records(tmp_path: Path) -> None:
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        assert await gate.answer() == b'{"ok":true}'
        (outcome,) = await gate.outcomes()
        (decision,) = gate.ledger.bodies(Kind.DECISION)
    assert (decision["upstream"], decision["caller"], decision["reach"]) == ("u", "anonymous", "host")
    assert (outcome["decision"], outcome["ending"], outcome["status"]) == (0, "completed", 200)
    assert outcome["received_bytes"] == len(OK)
    assert outcome["address"] == f"127.0.0.1:{port}"
    assert 0 <= outcome["first_byte_ms"] <= outcome["total_ms"]


async def test_the_upstream_sees_our_headers_only_and_the_whole_body(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(OK)
        writer.close()

    body = b'{"model":"m","prompt":"' + b"x" * 900_000 + b'"}'  # several windows of upload credit
    async with scripted(script) as port, house(port, tmp_path) as gate:
        await gate.answer(body=body)
    head, _, sent = seen[0].partition(b"\r\n\r\n")
    assert sent == body
    names = [line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
    assert names == [
        b"host", b"user-agent", b"accept-encoding", b"authorization", b"accept", b"content-type", b"content-length",
        b"x-request-id",
    ]  # fmt: skip
    assert b"Authorization: Bearer secret" in head
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")


@pytest.mark.parametrize("size", [PIECE, WINDOW, WINDOW + 1, 2 * WINDOW - 1, 5 * PIECE + 1])
async def test_a_body_of_any_size_arrives_whole(size: int, tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(OK)
        writer.close()

    begin, end = b'{"model":"m","prompt":"', b'"}'
    body = begin + b"x" * (size - len(begin + end)) + end
    async with scripted(script) as port, house(port, tmp_path) as gate:
        assert await gate.answer(body=body) == b'{"ok":true}'
    assert len(body) == size
    assert seen[0].endswith(b"\r\n\r\n" + body)


async def test_bodies_that_are_asked_at_once_are_not_mixed_up(tmp_path: Path) -> None:
    """They lie side by side where the gate reads them, and behind one another in the same place."""
    asked: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                asked.append((await read_request(reader)).partition(b"\r\n\r\n")[2])
            except asyncio.IncompleteReadError:
                return
            writer.write(OK)

    bodies = [
        b'{"model":"m","prompt":"' + bytes([97 + at % 26]) * size + b'"}'
        for at, size in enumerate([10, 20_000, 100_000, 15, 16_000, 70_000, 200_000, 300_000, 1, 17_000] * 3)
    ]
    async with scripted(script) as port, house(port, tmp_path) as gate:
        exchanges = [gate.ask(body) for body in bodies]
        async with asyncio.timeout(10):
            for exchange in exchanges:
                await exchange.opened()
    assert sorted(asked) == sorted(bodies)


async def test_nothing_is_dialled_before_the_decision_is_durable(tmp_path: Path) -> None:
    dialled = asyncio.Event()

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialled.set()
        writer.close()

    async with scripted(script) as port, house(port, tmp_path) as gate:
        gate.ledger.held = True
        exchange = gate.ask()
        await asyncio.sleep(0.1)
        assert gate.ledger.bodies(Kind.DECISION)
        assert not dialled.is_set()
        gate.ledger.told(0)
        async with asyncio.timeout(2):
            await dialled.wait()
        exchange.cancel()


async def test_without_a_record_there_is_no_request(tmp_path: Path) -> None:
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        gate.ledger.failure = "disk full"
        with pytest.raises(ExchangeFailed) as caught:
            await gate.answer()
        assert caught.value.failure.cause is Cause.AUDIT


async def test_a_ledger_that_fails_while_we_wait_refuses_too(tmp_path: Path) -> None:
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        gate.ledger.held = True
        exchange = gate.ask()
        await asyncio.sleep(0.05)
        gate.ledger.fail("fsync failed")
        with pytest.raises(ExchangeFailed) as caught:
            await exchange.opened()
        assert caught.value.failure.cause is Cause.AUDIT


async def test_a_stream_comes_in_whole_events_however_it_was_cut(tmp_path: Path) -> None:
    stream = b'data: {"a":1}\n\ndata: {"b":2}\n\n' + DONE
    pieces = [stream[at : at + 1] for at in range(len(stream))]
    async with scripted(answering(streamed(*pieces))) as port, house(port, tmp_path) as gate:
        exchange = gate.ask(stream=True)
        await exchange.opened()
        chunks = []
        while (data := await exchange.chunk()) is not None:
            chunks.append(data)
    assert b"".join(chunks) == stream
    assert all(chunk.endswith(b"\n\n") for chunk in chunks if chunk)


def sends(data: bytes, pause_s: float = 0.0) -> Script:
    """Bytes, a pause, then a cut connection."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(data)
        await asyncio.sleep(pause_s)
        writer.transport.abort()

    return script


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "pause_s", "cause"),
    [
        pytest.param(b"", 0, Cause.BROKE, id="cut before anything"),
        pytest.param(b"HTTP/1.1 200", 0, Cause.BROKE, id="cut in the head"),
        pytest.param(HEAD + b"Content-Length: 10\r\n\r\n{", 0.05, Cause.BROKE, id="cut in the body"),
        pytest.param(SSE + b"d\r\ndata: {", 0.05, Cause.BROKE, id="cut in an event"),
        pytest.param(SSE + b"9\r\ndata: 1\n\n\r\n", 0.05, Cause.BROKE, id="cut between events"),
        pytest.param(streamed(b"data: 1\n\n"), 0.3, Cause.BROKE, id="a whole stream without [DONE]"),
        pytest.param(streamed(DONE + b"data: 1"), 0.3, Cause.BROKE, id="half an event behind [DONE]"),
        pytest.param(b"", 2, Cause.FIRST_TOKEN_TIMEOUT, id="silent"),
        pytest.param(HEAD + b"Content-Length: 10\r\n\r\n", 2, Cause.FIRST_TOKEN_TIMEOUT, id="head, then silent"),
        pytest.param(SSE + b"9\r\ndata: 1\n\n\r\n", 1, Cause.BETWEEN_TOKENS_TIMEOUT, id="stalls between events"),
        pytest.param(b"garbage\r\n\r\n", 0.2, Cause.BAD_ANSWER, id="not HTTP"),
        pytest.param(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 0.2, Cause.BAD_ANSWER, id="two CL"),
        pytest.param(
            HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 0.2, Cause.BAD_ANSWER, id="CL+TE"
        ),
        pytest.param(HEAD + b"X-A: b\r\n folded\r\nContent-Length: 2\r\n\r\n{}", 0.2, None, id="obs-fold"),
        pytest.param(HEAD + b"\r\n{}", 0.2, Cause.BAD_ANSWER, id="no length told"),
        pytest.param(plain(b"{}", extra="Content-Encoding: gzip\r\n"), 0.2, Cause.BAD_ANSWER, id="compressed"),
        pytest.param(plain(b"{}", "101 Switching Protocols"), 0.2, Cause.BAD_ANSWER, id="an upgrade"),
        pytest.param(plain(b"", "302 Found", extra="Location: http://evil/\r\n"), 0.2, Cause.REDIRECT, id="a redirect"),
        pytest.param(plain(b"<html>", content_type="text/html"), 0.2, Cause.COLD, id="a Space's starting page"),
        pytest.param(plain(b"{}", "503 Loading"), 0.2, Cause.COLD, id="503"),
        pytest.param(HEAD + b"X-Big: " + b"x" * 70_000 + b"\r\n\r\n", 0.2, Cause.BAD_ANSWER, id="a giant header"),
        pytest.param(HEAD + b"A: b\r\n" * 150 + b"\r\n", 0.2, None, id="many headers of one name"),
        pytest.param(
            HEAD + b"".join(b"A%d: b\r\n" % n for n in range(150)) + b"\r\n", 0.2, Cause.BAD_ANSWER, id="many headers"
        ),
        pytest.param(OK + b"HTTP/1.1 200 OK\r\n", 0.2, None, id="bytes behind the answer"),
    ],
)  # fmt: skip
async def test_every_way_to_fail_has_its_cause_and_its_record(
    answer: bytes, pause_s: float, cause: Cause | None, tmp_path: Path
) -> None:
    if cause is None:
        async with scripted(sends(answer, pause_s)) as port, house(port, tmp_path) as gate:
            with suppress(ExchangeFailed):
                await gate.answer()
            assert len(await gate.outcomes()) == 1
        return
    assert await failure(sends(answer, pause_s), tmp_path) == (cause, str(cause))


async def test_an_interim_answer_is_waited_out(tmp_path: Path) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preconnect\r\n\r\n"
    async with scripted(answering(interim + OK)) as port, house(port, tmp_path) as gate:
        assert await gate.answer() == b'{"ok":true}'


async def test_nobody_there_is_refused_and_ejected_at_once(tmp_path: Path) -> None:
    async with house(1, tmp_path) as gate:
        with pytest.raises(ExchangeFailed) as caught:
            await gate.answer()
        assert caught.value.failure.cause is Cause.REFUSED
        await asyncio.sleep(0.05)
        assert gate.client.states["u"].state is State.FAILING


async def test_a_kept_connection_is_used_again_and_a_stale_one_replaced_once(tmp_path: Path) -> None:
    connections = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await read_request(reader)
        writer.write(OK)
        if connections == 1:
            await read_request(reader)
            writer.write(OK)
            await read_request(reader)  # and now, without a byte, it closes
        writer.close()

    async with scripted(script) as port, house(port, tmp_path) as gate:
        for _ in range(3):
            assert await gate.answer() == b'{"ok":true}'
        assert connections == 2
        outcomes = await gate.outcomes(3)
        assert [row["ending"] for row in outcomes] == ["completed"] * 3
        assert [row.get("resent", 0) for row in outcomes] == [0, 0, 1]


@pytest.mark.parametrize("phase", ["before the head", "before the first byte", "in mid-stream"])
async def test_a_client_that_leaves_stops_the_upstream(
    phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, praised = asyncio.Event(), []
    monkeypatch.setattr("router.gate.exchange.praise", lambda *told: praised.append(told))
    before = {"before the head": b"", "before the first byte": SSE, "in mid-stream": SSE + b"9\r\ndata: 1\n\n\r\n"}[
        phase
    ]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(before)
        try:
            if not await reader.read(1):
                closed.set()
        except ConnectionError:
            closed.set()
        writer.close()

    async with scripted(script) as port, house(port, tmp_path) as gate:
        exchange = gate.ask(stream=True)
        await asyncio.sleep(0.1)
        exchange.cancel()
        async with asyncio.timeout(1):
            await closed.wait()
        (outcome,) = await gate.outcomes()
        assert outcome["ending"] == "client_left"
        await asyncio.sleep(0.02)
        assert gate.client.states["u"].state is not State.FAILING
    assert praised == []  # nor is it a success: how fast it would have been is not known


async def test_a_worker_that_dies_leaves_outcomes_and_no_work_behind(tmp_path: Path) -> None:
    async with scripted(sends(SSE, 2)) as port, house(port, tmp_path) as gate:
        gate.ask(stream=True)
        await asyncio.sleep(0.1)
        gate.client.close()
        assert (await gate.outcomes())[0]["ending"] == "worker_lost"


async def test_the_gate_decides_again_and_records_its_refusal(tmp_path: Path) -> None:
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        for changes in ({"upstream": "nowhere"}, {"caller": "somebody"}, {"model": "x"}, {"tier": "e"}, {"reach": 0}):
            with pytest.raises(ExchangeFailed) as caught:
                await gate.answer(**changes)
            assert caught.value.failure.cause is Cause.POLICY, changes
        assert len(gate.ledger.bodies(Kind.DENIAL)) == 5
        assert not gate.ledger.bodies(Kind.DECISION)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "body_unreadable"),
        (b"[]", "body_unreadable"),
        (b'{"model":"\xff"}', "body_unreadable"),
        (b'{"a":' * 5000, "body_unreadable"),
        (b'{"model":"another"}', "model_unknown"),
        (b'{"model":"m","api_base":"http://evil.example"}', "reaiming_parameter"),
        (
            b'{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://evil/"}}]}]}',
            "remote_content",
        ),
    ],
)
async def test_the_gate_judges_the_very_bytes_it_would_send(body: bytes, reason: str, tmp_path: Path) -> None:
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        with pytest.raises(ExchangeFailed) as caught:
            await gate.answer(body=body)
        assert caught.value.failure.cause is Cause.POLICY
        assert [denial["reason"] for denial in gate.ledger.bodies(Kind.DENIAL)] == [reason]
        assert not gate.ledger.bodies(Kind.DECISION)


async def test_another_policy_than_ours_is_not_served(tmp_path: Path) -> None:
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        with pytest.raises(ExchangeFailed) as caught:
            await gate.answer(policy="older")
        assert caught.value.failure.cause is Cause.STALE_POLICY


async def test_a_slow_client_slows_the_upstream(tmp_path: Path) -> None:
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(SSE)
        event = b"data: " + b"x" * 1000 + b"\n\n"
        try:
            for _ in range(20_000):
                writer.write(b"%x\r\n%s\r\n" % (len(event), event))
                await writer.drain()
                sent += len(event)
        except ConnectionError:
            pass

    async with scripted(script) as port, house(port, tmp_path) as gate:
        exchange = gate.ask(stream=True)
        await exchange.opened()
        await asyncio.sleep(0.5)
        first = sent
        await asyncio.sleep(0.3)
        assert sent == first  # it waits for us
        assert sent < 15_000_000  # what kernels buffer
        exchange.cancel()


async def test_a_full_tier_queues_in_order_and_refuses_beyond(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(0.15)
        writer.write(OK)
        writer.close()

    async with scripted(script) as port, house(port, tmp_path, concurrency=1, queue=1) as gate:
        first, second = asyncio.create_task(gate.answer()), asyncio.create_task(gate.answer())
        await asyncio.sleep(0.02)
        with pytest.raises(ExchangeFailed) as caught:
            await gate.answer()
        assert caught.value.failure.cause is Cause.BUSY
        assert caught.value.failure.retry_after_s > 0
        (denial,) = gate.ledger.bodies(Kind.DENIAL)
        assert (denial["reason"], denial["model"]) == ("busy", "m")
        assert await first == await second == b'{"ok":true}'


async def test_a_cold_upstream_is_waited_for_when_asked_to(tmp_path: Path) -> None:
    began = asyncio.get_running_loop().time()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        warm = asyncio.get_running_loop().time() - began > 0.4
        writer.write(OK if warm else plain(b"{}", "503 Loading"))
        if not warm:
            assert request.startswith(b"GET")
        writer.close()

    async with scripted(script) as port, house(port, tmp_path) as gate:
        gate.upstreams.start()
        assert await gate.answer(wait=True) == b'{"ok":true}'
        await asyncio.sleep(0.02)
        assert gate.client.states["u"].state is State.READY


async def test_a_gate_that_goes_away_is_told_to_everyone_waiting(tmp_path: Path) -> None:
    async with scripted(sends(SSE, 2)) as port, house(port, tmp_path) as gate:
        exchange = gate.ask(stream=True)
        await exchange.opened()
        await gate.gate.drain(0.01)
        with pytest.raises(ExchangeFailed) as caught:
            await exchange.chunk()
        assert caught.value.failure.cause is Cause.GATE_LOST
        assert (await gate.outcomes())[0]["ending"] == "gate_stopped"
        with pytest.raises(ExchangeFailed):
            await gate.client.ready(0.01)
        with pytest.raises(ExchangeFailed):
            await gate.answer()


OPEN = Open("r", "anonymous", "m", Endpoint.CHAT, "t", "u", 1, False, 10, "digest")


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([HEADER.pack(0, 9, 77)], id="a kind that there is none"),
        pytest.param([HEADER.pack(2**31, 9, Frame.BODY)], id="a frame without end"),
        pytest.param([pack(9, Frame.RECORD, COUNT.pack(1))], id="what only the gate may say"),
        pytest.param([pack(9, Frame.OPEN, b"nonsense")], id="no message"),
        pytest.param([pack(9, Frame.OPEN, encode(OPEN))] * 2, id="one number twice"),
        pytest.param([pack(9, Frame.OPEN, encode(replace(OPEN, body_bytes=0)))], id="no body"),
        pytest.param(
            [pack(9, Frame.OPEN, encode(replace(OPEN, request_id="a\r\nPOST /evil")))], id="a header in an id"
        ),
        pytest.param([pack(9, Frame.OPEN, encode(replace(OPEN, request_id="a\n")))], id="a line in an id"),
        pytest.param([pack(9, Frame.OPEN, encode(replace(OPEN, deadline_s=float("nan"))))], id="no time"),
        pytest.param([pack(9, Frame.OPEN, encode(replace(OPEN, deadline_s=1e300)))], id="all time"),
        pytest.param([pack(9, Frame.OPEN, encode(replace(OPEN, deadline_s=-5.0)))], id="time that is over"),
        pytest.param([pack(9, Frame.OPEN, encode(replace(OPEN, reach=9)))], id="a reach that there is none"),
        pytest.param([pack(9, Frame.OPEN, encode(replace(OPEN, attempt=-1)))], id="an attempt before the first"),
        pytest.param([pack(9, Frame.OPEN, encode(replace(OPEN, body_bytes=2**40)))], id="a body without end"),
        pytest.param([pack(9, Frame.OPEN, encode(OPEN)), pack(9, Frame.CREDIT, b"x")], id="half a number"),
    ],
)
async def test_a_worker_that_talks_nonsense_loses_its_channel_only(frames: list[bytes], tmp_path: Path) -> None:
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        ours, theirs = socket.socketpair()
        await gate.gate.attach(ours)
        reader, writer = await asyncio.open_connection(sock=theirs)
        writer.write(b"".join(frames))
        async with asyncio.timeout(2):
            await reader.read()  # until it is closed
        writer.close()
        assert await gate.answer() == b'{"ok":true}'
        assert not gate.ledger.failure


DIES = """
import os, signal, sys
data = open(sys.argv[2], 'rb').read()
while data:
    data = data[os.write(int(sys.argv[1]), data):]
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("cut", [-129_995, -100_000, -1], ids=["in a head", "in a body", "a byte before its end"])
async def test_a_worker_killed_while_it_writes_a_frame_leaves_nothing_half_done(cut: int, tmp_path: Path) -> None:
    """What it asked for whole is begun, and its end told; what it did not, never was."""
    whole = pack(1, Frame.OPEN, encode(replace(OPEN, body_bytes=13, request_id="whole")))
    whole += pack(1, Frame.BODY, b'{"model":"m"}')
    body = b'{"model":"m","x":"' + b"x" * 129_971 + b'"}'
    half = pack(2, Frame.OPEN, encode(replace(OPEN, body_bytes=len(body), request_id="half")))
    half += pack(2, Frame.BODY, body)
    (tmp_path / "frames").write_bytes((whole + half)[:cut])
    never = asyncio.Event()

    async def script(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await never.wait()

    async with scripted(script) as port, house(port, tmp_path) as gate:
        ours, theirs = socket.socketpair()
        await gate.gate.attach(ours)
        with theirs:
            number = theirs.fileno()
            command = (sys.executable, "-I", "-S", "-c", DIES, str(number), str(tmp_path / "frames"))
            worker = await asyncio.create_subprocess_exec(*command, pass_fds=[number])
        assert await worker.wait() == -signal.SIGKILL
        [outcome] = await gate.outcomes()
        assert outcome["ending"] == "worker_lost"
        assert [one["request_id"] for one in gate.ledger.bodies(Kind.DECISION)] == ["whole"]
        assert not gate.gate._bodies._held


async def test_more_body_than_announced_ends_the_exchange(tmp_path: Path) -> None:
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        exchange = gate.ask(body=b'{"model":"m"}', body_bytes=5)
        await asyncio.sleep(0.05)
        assert not gate.ledger.bodies(Kind.DECISION)
        exchange.cancel()
        assert await gate.answer() == b'{"ok":true}'


async def test_a_denial_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    async with house(1, tmp_path) as gate:
        gate.ledger.failure = "disk full"
        with pytest.raises(ExchangeFailed) as caught:
            await gate.client.deny(Denial("r", "anonymous", "", "chat/completions", "invalid_json")).recorded()
        assert caught.value.failure.cause is Cause.AUDIT


async def test_nobody_waits_for_a_place_for_ever(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(5)

    async with scripted(script) as port, house(port, tmp_path, concurrency=1, queue=2) as gate:
        first = gate.ask(stream=True)
        await asyncio.sleep(0.05)
        left = gate.ask()
        with pytest.raises(ExchangeFailed) as caught:
            await gate.answer(deadline_s=0.1)
        assert caught.value.failure.cause is Cause.BUSY
        left.cancel()
        first.cancel()
        await gate.outcomes(1)


async def test_a_place_that_is_granted_to_one_who_has_just_left_is_passed_on() -> None:
    admission = Admission(1, 8)
    await admission.enter("a", 1)
    waiting = [asyncio.create_task(admission.enter("a", 1)) for _ in range(2)]
    await asyncio.sleep(0)
    admission.leave()  # granted to the first, which
    waiting[0].cancel()  # leaves before it knows
    await asyncio.wait_for(waiting[1], 1)
    assert waiting[0].cancelled()


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        (plain(b"{}", "404 Not Found"), State.FAILING, "bad_answer: probe answered 404"),
        (plain(b"{}", "503 Loading"), State.WARMING, "cold: status 503"),
        (plain(b"x" * 5_000_000), State.FAILING, "answer_too_large: an endless answer to a probe"),
    ],
)
async def test_what_a_probe_finds(answer: bytes, state: State, reason: str, tmp_path: Path) -> None:
    async with scripted(answering(answer)) as port, house(port, tmp_path) as gate:
        row = await gate.upstreams.warm("u", "t", 0.3)
        assert (row.state, row.reason, row.was_cold) == (state, reason, True)


async def test_a_silent_upstream_is_taken_for_one_that_wakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.gate.watcher.LOOK_S", 0.1)
    async with scripted(sends(b"", 5)) as port, house(port, tmp_path) as gate:
        row = await gate.upstreams.warm("u", "t", 0.3)
        assert (row.state, row.reason) == (State.WARMING, "cold: silent")


async def test_a_tier_that_is_kept_warm_is_asked_again_and_again(tmp_path: Path) -> None:
    asked = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await read_request(reader)
        asked += 1
        writer.write(OK)

    async with scripted(script) as port, house(port, tmp_path) as gate:
        keeping = asyncio.create_task(gate.upstreams.keep_warm(["u"], 0.15))
        await asyncio.sleep(0.8)
        keeping.cancel()
        assert asked >= 3


@pytest.mark.parametrize("second", [plain(b'{"evil":1}'), plain(b"{}", "502 Bad")])
async def test_a_second_answer_is_not_taken_for_the_first(second: bytes, tmp_path: Path) -> None:
    async with scripted(answering(OK + second)) as port, house(port, tmp_path) as gate:
        assert await gate.answer() == b'{"ok":true}'
        assert (await gate.outcomes())[0]["status"] == 200
        assert await gate.answer() == b'{"ok":true}'  # on another connection


@pytest.mark.parametrize("status", ["000 Nothing", "099 Less", "600 More"])
async def test_a_status_that_there_is_none_is_a_bad_answer(status: str, tmp_path: Path) -> None:
    assert (await failure(sends(plain(b"{}", status), 0.2), tmp_path))[0] is Cause.BAD_ANSWER


async def test_a_text_about_the_end_is_not_the_end(tmp_path: Path) -> None:
    stream = streamed(b'data: {"content":"data: [DONE]"}\n\n')
    assert (await failure(sends(stream, 0.2), tmp_path, stream=True))[0] is Cause.BROKE


async def test_what_was_judged_is_what_is_sent(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(OK)

    async with scripted(script) as port, house(port, tmp_path) as gate:
        await gate.answer(body=b'{"model":"other", "model":"m"}')
    assert seen[0].endswith(b'\r\n\r\n{"model":"m"}')


async def test_an_upstream_that_was_taken_off_the_list_is_never_looked_at_again(tmp_path: Path) -> None:
    asked = 0

    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal asked
        await read_request(reader)
        asked += 1

    async with scripted(script) as port, house(port, tmp_path) as gate:
        gate.upstreams.close()
        gate.upstreams.failed("u", UpstreamFault(Cause.REFUSED))
        await asyncio.sleep(0.3)
        assert asked == 0


async def raw(gate: House) -> socket.socket:
    """A worker that reads frames as they come, and has asked once."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    await gate.gate.attach(ours)
    body = b'{"model":"m"}'
    message = Open("r-1", "anonymous", "m", Endpoint.CHAT, "t", "u", 1, False, len(body), "digest", deadline_s=5.0)
    theirs.send(pack(1, Frame.OPEN, encode(message)) + pack(1, Frame.BODY, body))
    return theirs


def frames(data: bytes) -> list[Frame]:
    return [kind for number, kind, _ in Splitter().feed(data) if number]


async def test_the_answer_leaves_in_one_piece_with_its_record_and_before_its_outcome(tmp_path: Path) -> None:
    """Whoever is answered waits for no record but the decision."""
    there: list[bytes] = []

    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        append = gate.ledger.append

        def watched(kind: Kind, body: Mapping[str, object]) -> object:
            if kind is Kind.OUTCOME:
                there.append(worker.recv(65536))
            return append(kind, body)

        gate.ledger.append = watched  # type: ignore[method-assign,assignment]  # what the worker had when it was noted
        worker = await raw(gate)
        (outcome,) = await gate.outcomes()
        worker.close()
    assert outcome["ending"] == "completed"
    assert frames(there[0]) == [Frame.ANSWER]


async def test_who_leaves_between_the_answer_and_its_outcome_has_had_a_whole_answer(tmp_path: Path) -> None:
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        desk = next(iter(gate.gate._desks.values()))
        write = desk.link.write

        def leaves(frames: bytes) -> None:
            write(frames)
            for one in desk.under_way.values():
                asyncio.get_running_loop().call_soon(one.cancel)

        desk.link.write = leaves  # type: ignore[method-assign]  # before the outcome is noted
        assert await gate.answer() == b'{"ok":true}'
        (outcome,) = await gate.outcomes()
    assert outcome["ending"] == "completed"


async def test_of_a_slow_upstream_the_record_is_told_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.gate.server.SWEEP_S", 0.02)
    asked = asyncio.Event()

    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        await asyncio.sleep(60)

    async with scripted(script) as port, house(port, tmp_path) as gate:
        exchange = gate.ask(deadline_s=60)
        await asked.wait()
        async with asyncio.timeout(10):
            while exchange.record is None:
                await asyncio.sleep(0.005)
        assert (exchange.record, exchange.head) == (0, None)
        exchange.cancel()
        await gate.outcomes()


async def test_a_failure_tells_its_record_first(tmp_path: Path) -> None:
    async with scripted(sends(b"garbage\r\n\r\n", 0.1)) as port, house(port, tmp_path) as gate:
        exchange = gate.ask()
        with pytest.raises(ExchangeFailed):
            await exchange.opened()
        assert exchange.record == 0


async def test_a_whole_answer_larger_than_the_credit_waits_for_it(tmp_path: Path) -> None:
    body = b'"' + b"x" * 900_000 + b'"'
    async with scripted(answering(plain(body))) as port, house(port, tmp_path) as gate:
        assert await gate.answer() == body
        exchange = gate.ask(deadline_s=0.4)  # of one who does not read it, the time is over at the deadline
        await exchange.opened()
        (_, outcome) = await gate.outcomes(2)
    assert outcome["ending"] == "total_timeout"
