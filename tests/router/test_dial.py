"""What was judged is dialled, and nothing else: names, addresses, certificates, over real sockets."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from policies import Address, Destination, Reach, UpstreamRule
from router.channel.messages import Cause
from router.gate import dial
from router.gate.connection import UpstreamConnection, UpstreamFault
from router.gate.dial import Dialler, resolve, tls_context
from tests.router.certificates import DAY, Authority, Server
from tests.router.house import answering, plain, scripted


def upstream(port: int, host: str = "127.0.0.1", scheme: str = "http", pins: tuple[str, ...] = ()) -> UpstreamRule:
    return UpstreamRule("u", Reach.HOST, destination=Destination(scheme, host, port, "", tls_pins=pins))


async def fault_of(dialler: Dialler, rule: UpstreamRule) -> UpstreamFault:
    with pytest.raises(UpstreamFault) as caught:
        await dialler.dial(rule, 2.0)
    return caught.value


@pytest.mark.parametrize(
    ("host", "answers", "cause", "says"),
    [
        ("gpu.lan", [], Cause.DNS, "host_unresolved"),
        ("gpu.lan", ["10.1.2.3", "203.0.113.9"], Cause.POLICY, "203.0.113.9"),  # one bad answer refuses all
        ("gpu.lan", ["10.1.2.3", "2606:4700::1"], Cause.POLICY, "2606:4700::1"),
        ("gpu.lan", ["0.0.0.0"], Cause.POLICY, "0.0.0.0"),
        ("gpu.lan", ["127.0.0.1"], Cause.POLICY, "127.0.0.1"),  # rebound to this machine
        ("gpu.lan", ["169.254.169.254"], Cause.POLICY, "metadata"),
        ("api.openai.com", ["10.1.2.3"], Cause.POLICY, "cloud_provider"),
    ],
)
async def test_every_answer_of_the_resolver_is_judged(
    host: str, answers: list[str], cause: Cause, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lying(_: str) -> Sequence[Address]:
        return [ip_address(answer) for answer in answers]

    monkeypatch.setattr(dial, "resolve", lying)
    fault = await fault_of(Dialler(tmp_path), upstream(1, host))
    assert fault.cause is cause
    assert says in fault.detail


async def test_a_name_is_asked_for_as_an_absolute_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def getaddrinfo(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        return [(2, 1, 6, "", ("10.0.0.7", 0)), (2, 1, 6, "", ("10.0.0.7", 0)), (10, 1, 6, "", ("fd00::7", 0, 0, 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    assert [str(address) for address in await resolve("gpu.lan")] == ["10.0.0.7", "fd00::7"]
    assert asked == ["gpu.lan."]


async def test_a_flood_of_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[object]:
        return [(2, 1, 6, "", (f"10.0.{n // 250}.{n % 250}", 0)) for n in range(4096)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(UpstreamFault, match="4096 addresses"):
        await resolve("gpu.lan")


async def test_a_literal_is_not_asked_for() -> None:
    assert await resolve("fd00::1") == (ip_address("fd00::1"),)


async def test_a_connection_to_ourselves_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UpstreamConnection, "sockname", lambda self: self.peername())
    async with scripted(answering(plain(b"{}"))) as port:
        assert (await fault_of(Dialler(tmp_path), upstream(port))).cause is Cause.POLICY


async def test_a_peer_that_is_not_the_judged_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UpstreamConnection, "peername", lambda _: ("127.0.0.2", 1))
    async with scripted(answering(plain(b"{}"))) as port:
        assert (await fault_of(Dialler(tmp_path), upstream(port))).cause is Cause.POLICY


async def test_a_host_that_swallows_connections_is_a_connect_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.sleep(5)

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    with pytest.raises(UpstreamFault) as caught:
        await Dialler(tmp_path).dial(upstream(1), 0.05)
    assert caught.value.cause is Cause.CONNECT_TIMEOUT


async def test_an_engine_that_is_not_there_is_refused(tmp_path: Path) -> None:
    fault = await fault_of(Dialler(tmp_path), UpstreamRule("e", Reach.PROCESS, engine="small"))
    assert fault.cause is Cause.REFUSED


# --- TLS ---


@asynccontextmanager
async def tls_server(context: ssl.SSLContext) -> AsyncIterator[int]:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1)
        finally:
            writer.close()

    server = await asyncio.start_server(script, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls"))


async def dial_tls(server: Server, authority: Authority, tmp_path: Path, pins: tuple[str, ...] = ()) -> None:
    async with tls_server(server.context()) as port:
        dialler = Dialler(tmp_path, tls_context(authority.file))
        connection = await dialler.dial(upstream(port, scheme="https", pins=pins), 2.0)
        connection.abort()
        await asyncio.sleep(0.05)


async def test_a_good_certificate_is_taken(authority: Authority, tmp_path: Path) -> None:
    await dial_tls(authority.server(), authority, tmp_path)


async def test_a_pinned_key_is_taken_and_another_is_not(authority: Authority, tmp_path: Path) -> None:
    server, other = authority.server(), authority.server()
    await dial_tls(server, authority, tmp_path, pins=(other.pin, server.pin))
    with pytest.raises(UpstreamFault, match="not one that is pinned"):
        await dial_tls(server, authority, tmp_path, pins=(other.pin,))


@pytest.mark.parametrize("bad", ["wrong address", "expired", "not yet valid", "unknown authority"])
async def test_a_bad_certificate_is_refused(bad: str, authority: Authority, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    server = {
        "wrong address": lambda: authority.server("127.0.0.9"),
        "expired": lambda: authority.server(begins=-2 * DAY, ends=-DAY),
        "not yet valid": lambda: authority.server(begins=dt.timedelta(hours=1)),
        "unknown authority": lambda: Authority.make(stranger).server(),
    }[bad]()
    with pytest.raises(UpstreamFault) as caught:
        await dial_tls(server, authority, tmp_path)
    assert caught.value.cause is Cause.TLS


def test_nothing_older_than_tls_1_2_is_spoken() -> None:
    assert tls_context().minimum_version is ssl.TLSVersion.TLSv1_2
    assert tls_context().check_hostname
    assert tls_context().verify_mode is ssl.CERT_REQUIRED
