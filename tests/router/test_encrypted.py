"""The same requests over TLS: every rule of HTTP holds there too, and the handshake has rules of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from router.api.encrypted import HANDSHAKE_S, TlsConnection
from router.api.intake import Intake
from router.audit import Kind
from router.descriptors import Descriptors
from router.tls import client_context, server_context
from tests.router.certificates import Authority
from tests.router.fronts import Over, front, statuses, talk
from tests.router.house import House, answering, plain, streamed
from tests.router.requests import DONE, NONSENSE, STREAM, TARGETS, UPGRADES, post

Story = Callable[[House, int, ssl.SSLContext], Coroutine[Any, Any, None]]


def told(directory: Path, story: Story, *, answer: bytes = plain(b'{"a":1}'), intake: Intake | None = None) -> None:
    """Run the story before a TLS listener. On uvloop, as in the worker: the TLS protocol is its own."""
    authority = Authority.make(directory)
    pem = authority.server().file.read_text()
    context = server_context(pem, pem)
    trusting = client_context(str(authority.file))
    counted = intake or Intake()
    over: Over = lambda inner: TlsConnection(inner, context, counted)  # noqa: E731 - typed

    async def run() -> None:
        async with front(answering(answer), directory, over) as (parts, port):
            await story(parts, port, trusting)

    uvloop.run(run())


def test_smuggling_and_nonsense_are_refused_over_tls(tmp_path: Path) -> None:
    hidden = post(path="/v1/embeddings", body=b'{"input":"smuggled"}')
    requests = [request for parameters in NONSENSE for request in parameters.values if isinstance(request, bytes)]
    upgrades = [post(hidden, head)[: -len(hidden)] + hidden for head in UPGRADES]

    async def story(parts: House, port: int, tls: ssl.SSLContext) -> None:
        answers = await asyncio.gather(*(talk(port, request + hidden, tls=tls) for request in requests))
        answers += await asyncio.gather(*(talk(port, request, tls=tls) for request in upgrades))
        for request, received in zip((*requests, *upgrades), answers, strict=True):
            assert statuses(received)[:1] in ([400], []), request
            assert 200 not in statuses(received)
            if received:
                assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"
        assert not parts.ledger.bodies(Kind.DECISION)

    told(tmp_path, story)


def test_targets_methods_hosts_and_pipelines_over_tls(tmp_path: Path) -> None:
    live = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    request = post()
    others = [
        (request + live + request + live, [200, 200, 200, 200]),
        (post(version="1.0"), [200]),
        (post(head="Expect: 100-continue\r\n"), [200]),  # it came with its body: nothing to wait for
        *((post(head=head) + live, [200, 200]) for head in UPGRADES),
    ]

    async def story(_parts: House, port: int, tls: ssl.SSLContext) -> None:
        cases = [*((request, [status]) for request, status in TARGETS), *others]
        answers = await asyncio.gather(*(talk(port, asked, tls=tls) for asked, _ in cases))
        for (asked, expected), received in zip(cases, answers, strict=True):
            assert [status for status in statuses(received) if status != 100] == expected, asked
        assert statuses(await talk(port, *(request[at : at + 1] for at in range(len(request))), tls=tls)) == [200]

    told(tmp_path, story)


def test_a_stream_comes_in_whole_events_and_its_end_is_no_cut(tmp_path: Path) -> None:
    """OpenSSL tells a close without close_notify as an error: to HTTP/1.0 it would be a truncated answer."""

    async def story(_parts: House, port: int, tls: ssl.SSLContext) -> None:
        received = await talk(port, post(STREAM, version="1.0"), tls=tls)
        assert received.partition(b"\r\n\r\n")[2] == b"data: 1\n\n" + DONE

    told(tmp_path, story, answer=streamed(b"data: 1\n\n", DONE))


def test_a_handshake_has_a_deadline_and_a_request_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.api.encrypted.HANDSHAKE_S", 0.3)
    monkeypatch.setattr("router.api.patient.READ_S", 0.3)

    async def story(_parts: House, port: int, tls: ssl.SSLContext) -> None:
        for sent in (b"", b"\x16\x03\x01", b"\x80\x2e\x01"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            async with asyncio.timeout(10):
                assert b"HTTP" not in await reader.read()
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        writer.write(b"POST /v1/chat/comp")
        async with asyncio.timeout(10):
            assert statuses(await reader.read()) == [408]
        writer.close()

    told(tmp_path, story)


@pytest.mark.parametrize(
    "pieces", [(post(),), tuple(post()[at : at + 1] for at in range(30)), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",)]
)
def test_plain_http_is_told_so(pieces: tuple[bytes, ...], tmp_path: Path) -> None:
    intake = Intake()

    async def story(parts: House, port: int, tls: ssl.SSLContext) -> None:
        head, _, body = (await talk(port, *pieces)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"connection: close" in head
        error = json.loads(body)["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_request")
        assert "plain HTTP request was sent to an HTTPS port" in error["message"]
        assert not parts.ledger.records
        await counted(intake, 0)
        assert statuses(await talk(port, post(), tls=tls)) == [200]

    told(tmp_path, story, intake=intake)


async def writes_on(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"POST / HTTP/1.1\r\n" * 100)
        await writer.drain()
        await asyncio.sleep(0.01)


def test_plain_http_that_goes_on_and_on_is_closed(tmp_path: Path) -> None:
    async def story(_parts: House, port: int, _tls: ssl.SSLContext) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(30):
                writer.write(b"POST / HTTP/1.1\r\n")
                assert b"HTTPS port" in await reader.readuntil(b"}}\n")
                with pytest.raises((ConnectionError, RuntimeError)):  # uvloop says it so of a transport that is closed
                    await writes_on(writer)
        finally:
            writer.close()

    told(tmp_path, story)


def test_a_handshake_may_come_byte_by_byte(tmp_path: Path) -> None:
    async def story(_parts: House, port: int, tls: ssl.SSLContext) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = tls.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(20):
                while True:
                    try:
                        client.do_handshake()
                    except ssl.SSLWantReadError:
                        for byte in outgoing.read():
                            writer.write(bytes([byte]))
                            await asyncio.sleep(0)
                        incoming.write(await reader.read(65536))
                    else:
                        break
                client.write(post())
                writer.write(outgoing.read())
                incoming.write(await reader.read(65536))
                assert client.read(12) == b"HTTP/1.1 200"
        finally:
            writer.close()

    told(tmp_path, story)


async def turned_away(port: int) -> None:
    """Without a word from it, and long before a handshake would be given up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(HANDSHAKE_S / 2):
                assert await reader.read() == b""
    finally:
        writer.close()  # else the server waits for it, and the test with it


async def counted(intake: Intake, connections: int) -> None:
    async with asyncio.timeout(20):
        while intake.connections != connections:
            await asyncio.sleep(0.01)


def test_connections_are_counted_before_their_handshake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.api.intake.MOST_CONNECTIONS", 2)
    monkeypatch.setattr("router.api.intake._LOCAL", ("nowhere",))
    intake = Intake()

    async def story(_parts: House, port: int, tls: ssl.SSLContext) -> None:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        try:
            await counted(intake, 2)
            await turned_away(port)
        finally:
            for _, writer in held:
                writer.close()
        await counted(intake, 0)
        assert statuses(await talk(port, post(), tls=tls)) == [200]

    told(tmp_path, story, intake=intake)


def test_the_last_descriptors_are_not_for_handshakes(tmp_path: Path) -> None:
    short = Intake(Descriptors(4))

    async def story(_parts: House, port: int, _tls: ssl.SSLContext) -> None:
        await turned_away(port)
        await counted(short, 0)

    told(tmp_path, story, intake=short)


def agreed(port: int, tls: ssl.SSLContext) -> tuple[str | None, str | None, str]:
    """Version, application protocol and cipher of one handshake."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        with tls.wrap_socket(sock, server_hostname="127.0.0.1") as wrapped:
            cipher = wrapped.cipher()
            return wrapped.version(), wrapped.selected_alpn_protocol(), cipher[0] if cipher else ""


@pytest.mark.parametrize(
    ("newest", "protocols", "spoken"),
    [
        (ssl.TLSVersion.TLSv1_3, ["h2", "http/1.1"], ("TLSv1.3", "http/1.1")),
        (ssl.TLSVersion.TLSv1_2, ["http/1.1"], ("TLSv1.2", "http/1.1")),
        (ssl.TLSVersion.TLSv1_3, ["h2"], ("TLSv1.3", None)),
    ],
)
def test_what_is_agreed(
    newest: ssl.TLSVersion, protocols: list[str], spoken: tuple[str, str | None], tmp_path: Path
) -> None:
    async def story(_parts: House, port: int, tls: ssl.SSLContext) -> None:
        tls.maximum_version = newest
        tls.set_alpn_protocols(protocols)
        version, protocol, cipher = await asyncio.to_thread(agreed, port, tls)
        assert (version, protocol) == spoken
        assert "GCM" in cipher or "CHACHA20" in cipher

    told(tmp_path, story)


@pytest.mark.parametrize(
    ("ciphers", "version"),
    [("DEFAULT@SECLEVEL=0", ssl.TLSVersion.TLSv1_1), ("AES256-SHA256", ssl.TLSVersion.TLSv1_2)],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_old_versions_and_ciphers_are_refused(ciphers: str, version: ssl.TLSVersion, tmp_path: Path) -> None:
    async def story(_parts: House, port: int, tls: ssl.SSLContext) -> None:
        tls.minimum_version = tls.maximum_version = version
        tls.set_ciphers(ciphers)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(agreed, port, tls)

    told(tmp_path, story)
