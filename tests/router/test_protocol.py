"""The server's side of a connection, byte by byte, over real sockets: HTTP done right although hand-held."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from router.audit import Kind
from router.settings.snapshot import KeyRule, Snapshot
from tests.router.fronts import front, serving, statuses, talk
from tests.router.house import answering, house, plain, read_request, scripted, streamed
from tests.router.requests import CHAT, DONE, NONSENSE, STREAM, TARGETS, UPGRADES, post


async def test_a_request_is_answered_in_one_piece_and_the_connection_kept(tmp_path: Path) -> None:
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (_, port):
        received = await talk(port, post() + post(), half_close=False)
    assert statuses(received) == [200, 200]
    assert received.count(b'{"a":1}') == 2


async def test_pipelined_requests_are_answered_in_order_on_both_lanes(tmp_path: Path) -> None:
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (_, port):
        live = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        received = await talk(port, post() + live + post() + live)
    assert statuses(received) == [200, 200, 200, 200]
    order = [b"alive" in part for part in received.split(b"HTTP/1.1 ")[1:]]
    assert order == [False, True, False, True]


@pytest.mark.parametrize("after", [b"no request at all\r\n\r\n", b"POST /v1 HTTP/1.1\r\nHost : x\r\n\r\n"])
async def test_a_request_with_garbage_behind_it_in_one_piece_is_not_begun(after: bytes, tmp_path: Path) -> None:
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (parts, port):
        received = await talk(port, post() + after)
    assert statuses(received) == [400]
    assert parts.ledger.records == []  # nothing was asked of the gate


async def test_a_request_may_come_byte_by_byte(tmp_path: Path) -> None:
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (_, port):
        request = post()
        received = await talk(port, *(request[at : at + 1] for at in range(len(request))))
    assert statuses(received) == [200]


async def test_a_stream_is_chunked_whole_events(tmp_path: Path) -> None:
    async with front(answering(streamed(b"data: 1\n\n", DONE)), tmp_path) as (_, port):
        received = await talk(port, post(STREAM))
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert body.endswith(b"0\r\n\r\n")
    assert b"data: 1\n\n" in body
    assert DONE in body


@pytest.mark.parametrize("request_", NONSENSE)
async def test_smuggling_and_nonsense_are_refused_and_the_connection_ended(request_: bytes, tmp_path: Path) -> None:
    hidden = post(path="/v1/embeddings", body=b'{"input":"smuggled"}')
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (parts, port):
        received = await talk(port, request_ + hidden)
        assert not parts.ledger.bodies(Kind.DECISION)
    assert statuses(received)[:1] in ([400], [])
    assert 200 not in statuses(received)
    if received:
        assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"


async def test_an_absolute_target_goes_nowhere_else(tmp_path: Path) -> None:
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (parts, port):
        received = await talk(port, post(path="http://evil.example/v1/chat/completions"))
        assert not parts.ledger.bodies(Kind.DECISION)
    assert statuses(received)[0] in (400, 404, 405)


@pytest.mark.parametrize(("request_", "status"), TARGETS)
async def test_targets_methods_and_hosts(request_: bytes, status: int, tmp_path: Path) -> None:
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (_, port):
        received = await talk(port, request_)
    assert statuses(received) == [status]


@pytest.mark.parametrize("keys", [False, True])
@pytest.mark.parametrize(
    "twice",
    [
        "Authorization: Bearer one\r\nauthorization: Bearer two\r\n",
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
        "Host: localhost\r\n",  # the request has one of its own
    ],
    ids=["Authorization", "Content-Type", "Host"],
)
async def test_what_may_stand_once_stands_once_on_both_lanes(twice: str, *, keys: bool, tmp_path: Path) -> None:
    """A stranger's or not: nobody guesses which of them counts."""
    live = f"GET /livez HTTP/1.1\r\nHost: localhost\r\n{twice}\r\n".encode()
    change = with_a_key if keys else _as_it_is
    async with (
        scripted(answering(plain(b'{"a":1}'))) as port,
        house(port, tmp_path, change) as parts,
        serving(parts) as front_port,
    ):
        for request in (post(head=twice), live):
            received = await talk(front_port, request)
            assert statuses(received) == [400]
            error = json.loads(received.partition(b"\r\n\r\n")[2])["error"]
            told = f"The header {twice.partition(':')[0]} stands in this request 2 times: send it once."
            assert (error["code"], error["message"]) == ("invalid_request", told)
        assert not parts.ledger.bodies(Kind.DECISION)
        several = statuses(await talk(front_port, post(head="Accept: a\r\nAccept: b\r\n")))
        assert several == [401 if keys else 200]


def _as_it_is(snapshot: Snapshot) -> Snapshot:
    return snapshot


def with_a_key(snapshot: Snapshot) -> Snapshot:
    keys = (KeyRule("nobody", "0" * 64, "c"),)
    return replace(snapshot, keys=keys, policy=replace(snapshot.policy, any_caller=False))


async def test_http_1_0_is_answered_and_closed(tmp_path: Path) -> None:
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (_, port):
        received = await talk(port, post(version="1.0"))
    assert statuses(received) == [200]
    assert b"connection: close" in received


async def test_a_client_that_waits_for_100_is_told_to_go_on(tmp_path: Path) -> None:
    request = post(head="Expect: 100-continue\r\n")
    head, body = request[: -len(CHAT)], request[-len(CHAT) :]
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (_, port):
        received = await talk(port, head, body, pause_s=0.1)
    assert statuses(received) == [100, 200]


@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large_a_body_is_refused_and_recorded_before_it_is_read(*, chunked: bool, tmp_path: Path) -> None:
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (parts, port):
        largest = parts.snapshot.limits.body_bytes
        if chunked:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            pieces = [head, *[b"100000\r\n" + b"x" * 0x100000 + b"\r\n"] * (largest // 0x100000 + 1)]
        else:
            announced = (
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {largest + 1}\r\n\r\n"
            )
            pieces = [announced.encode(), b"x" * 1000]
        received = await talk(port, *pieces)
        (denial,) = parts.ledger.bodies(Kind.DENIAL)
    assert statuses(received) == [413]
    assert denial["reason"] == "body_too_large"


@pytest.mark.parametrize("sent", [b"", b"POST /v1/chat/comp", post()[:-5], b"GET /livez HTTP/1.1\r\nHo"])
async def test_a_request_that_is_never_whole_is_ended(
    sent: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.api.patient.READ_S", 0.2)
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (_, port):
        assert statuses(await talk(port, sent)) == [408]


async def test_a_slow_answer_is_not_a_slow_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.api.patient.READ_S", 0.1)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(0.3)
        writer.write(plain(b'{"a":1}'))

    async with front(script, tmp_path) as (_, port):
        assert statuses(await talk(port, post(head="Connection: close\r\n"), most_s=10)) == [200]


async def test_a_client_that_hangs_up_stops_the_upstream(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(5)

    async with front(script, tmp_path) as (parts, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post())
        await asyncio.sleep(0.1)
        writer.transport.abort()
        assert (await parts.outcomes())[0]["ending"] == "client_left"


async def test_a_mistake_of_ours_is_a_500_without_a_word_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    async with front(answering(plain(b"{}")), tmp_path) as (_, port):
        monkeypatch.setattr("router.verdicts.decide_request", broken)
        received = await talk(port, post())
    assert statuses(received) == [500]
    assert b"secret" not in received
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"] == "internal_error"


@pytest.mark.parametrize("head", UPGRADES)
async def test_an_offer_to_upgrade_is_ignored(head: str, tmp_path: Path) -> None:
    live = f"GET /livez HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode()
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (parts, port):
        request = post(head=head)
        assert statuses(await talk(port, request + live + request)) == [200, 200, 200]
        assert statuses(await talk(port, *(request[at : at + 1] for at in range(len(request))))) == [200]
        assert len(parts.ledger.bodies(Kind.DECISION)) == 3


@pytest.mark.parametrize("head", UPGRADES)
async def test_an_upgrade_smuggles_no_second_request(head: str, tmp_path: Path) -> None:
    hidden = post(path="/v1/chat/completions")
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (parts, port):
        received = await talk(port, post(hidden, head)[: -len(hidden)], hidden, pause_s=0.1)
        chunked = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n{head}\r\n"
        received += await talk(port, chunked.encode(), b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden))
        assert not parts.ledger.bodies(Kind.DECISION)
    assert statuses(received) == [400, 400]


@pytest.mark.parametrize(
    "request_",
    [b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
)
async def test_no_tunnel_begins_here(request_: bytes, tmp_path: Path) -> None:
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (_, port):
        assert statuses(await talk(port, request_ + post())) in ([400], [505])


async def test_every_answer_has_a_request_id(tmp_path: Path) -> None:
    named = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: mine\r\n\r\n"
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (_, port):
        assert b"x-request-id: mine\r\n" in await talk(port, named)
        for request in (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00\r\n\r\n", post(), post(b"{")):
            assert b"x-request-id: rf-" in await talk(port, request)


async def test_a_stream_to_http_1_0_ends_with_its_connection(tmp_path: Path) -> None:
    async with front(answering(streamed(b"data: 1\n\n", DONE)), tmp_path) as (_, port):
        received = await talk(port, post(STREAM, version="1.0"))
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body == b"data: 1\n\n" + DONE


async def test_more_bodies_than_may_be_held_are_refused_and_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.api.intake.LEAST", 0)
    monkeypatch.setattr("router.api.intake.BODIES", 0.00003)
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (parts, port):
        for _ in range(4):  # what was held is given back
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post()[:-1])
            assert statuses(await talk(port, post())) == [200]
            writer.close()
        received = await talk(port, post(CHAT[:-2] + b" " * 1000 + CHAT[-2:]))
        (denial,) = parts.ledger.bodies(Kind.DENIAL)
    assert statuses(received) == [503]
    assert b"retry-after: 1" in received
    assert denial["reason"] == "unavailable"


async def test_one_address_has_so_many_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.api.intake.MOST_CONNECTIONS", 2)
    monkeypatch.setattr("router.api.intake._LOCAL", ("nowhere",))
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (_, port):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert await talk(port, post()) == b""
        for _, writer in held:
            writer.close()
        await asyncio.sleep(0.05)
        assert statuses(await talk(port, post())) == [200]


async def test_idle_connections_and_as_many_slow_ones_hinder_nobody(tmp_path: Path) -> None:
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (_, port):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(400)]
        for number, (_, writer) in enumerate(held):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" if number % 2 else b"POST /v1/chat/comp")
        assert statuses(await talk(port, post())) == [200]
        for number, (reader, writer) in enumerate(held):
            if number % 2:
                assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
            writer.close()


async def test_who_reads_nothing_of_a_long_answer_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.api.cycle.READ_S", 0.2)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(streamed(b"data: 1\n\n", end=False))
        for _ in range(400):
            writer.write(b"%x\r\ndata: %b\n\n\r\n" % (100_008, b"x" * 100_000))
            await writer.drain()

    async with front(script, tmp_path) as (parts, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(post(STREAM))
        (outcome,) = await parts.outcomes()
        writer.close()
    assert outcome["ending"] == "client_left"


async def test_a_quiet_connection_is_closed_and_a_used_one_is_not(tmp_path: Path) -> None:
    async with scripted(answering(plain(b'{"a":1}'))) as up, house(up, tmp_path) as parts:
        async with serving(parts, keep_alive_s=1) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for pause_s in (0.6, 0.6, 0.0):
                writer.write(post())
                await reader.readuntil(b'{"a":1}')
                await asyncio.sleep(pause_s)
            assert await reader.read() == b""
            writer.close()


async def test_a_stranger_is_refused_before_the_body_is_read(tmp_path: Path) -> None:
    def with_keys(snapshot: Snapshot) -> Snapshot:
        return replace(snapshot, policy=replace(snapshot.policy, any_caller=False))

    async with scripted(answering(plain(b"{}"))) as up, house(up, tmp_path, change=with_keys) as parts:
        async with serving(parts) as port:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"
            received = await talk(port, head, b"x" * 1000)
    assert statuses(received) == [401]


async def test_our_bytes_never_stand_in_another_answer(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(streamed(b"data: 1\n\n", end=False))
        await asyncio.sleep(5)

    async with front(script, tmp_path) as (_, port):
        received = await talk(port, post(STREAM), b"\x00garbage\r\n\r\n", pause_s=0.2)
    assert statuses(received) == [200]
    assert received.count(b"HTTP/1.1") == 1


async def test_of_two_ceilings_none_is_chosen(tmp_path: Path) -> None:
    head = "X-Ringfence-Reach: rented\r\nX-Ringfence-Reach: process\r\n"
    async with front(answering(plain(b"{}")), tmp_path) as (_, port):
        assert statuses(await talk(port, post(head=head))) == [400]


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"


@pytest.mark.parametrize(
    ("begins", "goes_on"),
    [
        (HEAD + b"X-A: ", b"a"),
        (HEAD + b"X-A", b"a"),
        (HEAD, b"X-A: a\r\n"),
        (b"GET /livez?", b"a"),
        (b"GET /livez HTTP/1.1\r\nX-A: ", b"a"),
        (CHUNKS + b"5;a=", b"a"),
        (CHUNKS + b"0\r\nX-A: ", b"a"),
        (CHUNKS + b"0\r\n", b"X-A: a\r\n"),
        (post() + HEAD + b"X-A: ", b"a"),
    ],
    ids=[
        "a value",
        "a name",
        "headers",
        "a target",
        "another lane",
        "a chunk's size",
        "a trailer",
        "trailers",
        "behind",
    ],
)
async def test_a_head_that_never_ends_is_refused(begins: bytes, goes_on: bytes, tmp_path: Path) -> None:
    """By anybody, before it is known who: the parser holds a header until it ends."""
    piece = goes_on * (8192 // len(goes_on))
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begins)
        received, sent = b"", 0
        async with asyncio.timeout(10):
            while not (received := received + await _soon(reader)).count(b"head_too_large"):
                writer.write(piece)
                sent += len(piece)
        writer.close()
    assert sent < 1_000_000
    assert statuses(received)[-1] == 431


async def _soon(reader: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(0.02):
            return await reader.read(65536)
    except (TimeoutError, ConnectionError):
        return b""


async def test_a_long_body_in_small_pieces_is_no_long_head(tmp_path: Path) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    pieces = [b"1;" + b"a" * 2000 + b"\r\n" + CHAT[at : at + 1] + b"\r\n" for at in range(len(CHAT))]
    async with front(answering(plain(b'{"a":1}')), tmp_path) as (_, port):
        received = await talk(port, head, *pieces, b"0\r\n\r\n", most_s=2.0)
    assert statuses(received) == [200]
