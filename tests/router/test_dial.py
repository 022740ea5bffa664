"""What was judged is dialled, and nothing else: names, addresses, certificates, over real sockets."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from unittest.mock import patch

import pytest

from policies import Address, Destination, ModelRule, Policy, Reach, TierRule, UpstreamRule
from router.channel.messages import Cause
from router.descriptors import Descriptors
from router.gate import resolver
from router.gate.connection import UpstreamConnection, UpstreamFault
from router.gate.dial import Dialler, _check_peer
from router.gate.pool import Pool
from router.gate.resolver import Resolver, lookup
from router.gate.tls import needs_system_authorities, tls_context
from router.gate.upstreams import Ears, Upstreams
from router.gate.watcher import why
from router.settings.snapshot import Snapshot, TlsMaterial
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
        ("gpu.lan", ["10.1.2.3", "203.0.113.9"], Cause.POLICY, "forbidden_address"),  # one bad answer refuses all
        ("gpu.lan", ["10.1.2.3", "2606:4700::1"], Cause.POLICY, "public_not_acknowledged"),
        ("gpu.lan", ["0.0.0.0"], Cause.POLICY, "forbidden_address"),
        ("gpu.lan", ["127.0.0.1"], Cause.POLICY, "forbidden_address"),  # rebound to this machine
        ("gpu.lan", ["169.254.169.254"], Cause.POLICY, "metadata"),
        ("api.openai.com", ["10.1.2.3"], Cause.POLICY, "cloud_provider"),
    ],
)
async def test_every_answer_of_the_resolver_is_judged(
    host: str, answers: list[str], cause: Cause, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lying(_: str) -> Sequence[Address]:
        return [ip_address(answer) for answer in answers]

    monkeypatch.setattr(resolver, "lookup", lying)
    fault = await fault_of(Dialler(tmp_path), upstream(1, host))
    assert fault.cause is cause
    assert says in fault.detail
    assert not any(answer in fault.detail for answer in answers)  # it is told to workers
    assert host in fault.found  # for the operator: which name, and which address is the wrong one
    refused = [answer for answer in answers if answer in fault.found]
    assert len(refused) == (1 if says not in {"host_unresolved", "cloud_provider"} else 0)


async def test_an_operator_sees_the_address_that_was_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the log and in reports, never in what workers and /health are told."""

    async def rebound(_: str) -> Sequence[Address]:
        return [ip_address("203.0.113.9")]

    monkeypatch.setattr(resolver, "lookup", rebound)
    told: list[str] = []
    rule = upstream(1, "gpu.lan")
    policy = Policy("", {rule.name: rule}, {"t": TierRule("t", (rule.name,))}, {"m": ModelRule("m", ("t",))}, "m", {})
    ears = Ears(lambda *change: told.append(change[3]), lambda: None, lambda _: None)
    upstreams = Upstreams(Snapshot(policy), Dialler(tmp_path), ears)
    await upstreams.look(rule.name, 5.0)
    [report] = upstreams.reports(rule.name)
    assert report.found == "gpu.lan resolves to 203.0.113.9"
    assert report.reason == "policy_denied: forbidden_address"
    assert told[-1] == report.found
    assert b"203.0.113.9" not in upstreams.states()
    upstreams.close()


async def test_a_name_is_asked_for_as_an_absolute_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def getaddrinfo(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        return [(2, 1, 6, "", ("10.0.0.7", 0)), (2, 1, 6, "", ("10.0.0.7", 0)), (10, 1, 6, "", ("fd00::7", 0, 0, 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    assert [str(address) for address in await lookup("gpu.lan")] == ["10.0.0.7", "fd00::7"]
    assert asked == ["gpu.lan."]


async def test_a_flood_of_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[object]:
        return [(2, 1, 6, "", (f"10.0.{n // 250}.{n % 250}", 0)) for n in range(4096)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(UpstreamFault, match="4096 addresses"):
        await lookup("gpu.lan")


async def test_a_literal_is_not_asked_for() -> None:
    destination = Destination("http", "fd00::1", 1, "")
    assert await Resolver().addresses(destination, 1.0) == (ip_address("fd00::1"),)


async def test_a_name_of_the_table_is_never_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: str) -> Sequence[Address]:
        raise AssertionError

    monkeypatch.setattr(resolver, "lookup", never)
    async with scripted(answering(plain(b"{}"))) as port:
        destination = Destination("http", "gpu.lan", port, "", pins=("127.0.0.0/8",), addresses=("127.0.0.1",))
        connection = await Dialler(tmp_path).dial(UpstreamRule("u", Reach.HOST, destination=destination), 2.0)
        assert connection.peername() == ("127.0.0.1", port)
        connection.abort()
        await asyncio.sleep(0.01)


async def test_a_name_of_the_table_is_judged_as_one_that_was_asked_for(tmp_path: Path) -> None:
    destination = Destination("http", "gpu.lan", 1, "", pins=("10.0.0.0/8",), addresses=("10.0.0.1", "192.168.0.1"))
    fault = await fault_of(Dialler(tmp_path), UpstreamRule("u", Reach.NETWORK, destination=destination))
    assert (fault.cause, "address_outside_pin" in fault.detail) == (Cause.POLICY, True)


async def test_a_slow_resolver_is_bounded_and_asked_once_however_many_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    answered = asyncio.Event()

    async def slow(host: str) -> Sequence[Address]:
        asked.append(host)
        await answered.wait()
        return [ip_address("10.0.0.1"), ip_address("8.8.8.8")]

    monkeypatch.setattr(resolver, "lookup", slow)
    dialler = Dialler(tmp_path)
    waiting = [dialler.dial(upstream(1, "gpu.lan"), 0.05) for _ in range(100)]
    faults = await asyncio.gather(*waiting, return_exceptions=True)
    assert {(fault.cause, fault.detail) for fault in faults if isinstance(fault, UpstreamFault)} == {
        (Cause.DNS, "no answer from the resolver within 0.05 s")
    }
    assert {(why(fault), fault.found) for fault in faults if isinstance(fault, UpstreamFault)} == {
        ("dns: no answer from the resolver within 0.05 s", "gpu.lan")  # and not that the name has no address
    }
    assert asked == ["gpu.lan"]
    answered.set()
    assert (await fault_of(dialler, upstream(1, "gpu.lan"))).cause is Cause.POLICY  # the late answer is judged too
    assert asked == ["gpu.lan"]


async def test_a_resolver_that_fails_late_is_not_an_unhandled_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def flood(_: str) -> Sequence[Address]:
        await asyncio.sleep(0.05)
        raise UpstreamFault(Cause.DNS, "4096 addresses for one name")

    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    monkeypatch.setattr(resolver, "lookup", flood)
    with pytest.raises(UpstreamFault, match="no answer"):
        await Dialler(tmp_path).dial(upstream(1, "gpu.lan"), 0.01)
    await asyncio.sleep(0.1)
    assert unhandled == []


async def test_a_connection_to_ourselves_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UpstreamConnection, "sockname", lambda self: self.peername())
    async with scripted(answering(plain(b"{}"))) as port:
        assert (await fault_of(Dialler(tmp_path), upstream(port))).cause is Cause.POLICY


@pytest.mark.parametrize(
    ("peer", "cause"),
    [
        (("127.0.0.2", 0), Cause.POLICY),  # 0: the judged one's own port
        (("127.0.0.1", 1), Cause.POLICY),
        ("/somewhere.sock", Cause.POLICY),
        (None, Cause.REFUSED),  # gone before it could be asked
    ],
)
async def test_a_peer_that_is_not_the_judged_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peer: object, cause: Cause
) -> None:
    async with scripted(answering(plain(b"{}"))) as port:
        found = (peer[0], peer[1] or port) if isinstance(peer, tuple) else peer
        monkeypatch.setattr(UpstreamConnection, "peername", lambda _: found)
        assert (await fault_of(Dialler(tmp_path), upstream(port))).cause is cause


async def test_the_last_descriptors_are_no_connections(tmp_path: Path) -> None:
    """They are the ledger's; and it is nobody's failure but ours."""
    async with scripted(answering(plain(b"{}"))) as port:
        fault = await fault_of(Dialler(tmp_path, descriptors=Descriptors(1)), upstream(port))
    assert fault.cause is Cause.BUSY


async def test_a_host_that_swallows_connections_is_a_connect_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.sleep(5)

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    with pytest.raises(UpstreamFault) as caught:
        await Dialler(tmp_path).dial(upstream(1), 0.05)
    assert caught.value.cause is Cause.CONNECT_TIMEOUT


async def test_a_connection_says_where_it_leads(tmp_path: Path) -> None:
    accepted = asyncio.Event()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        accepted.set()

    async with await asyncio.start_unix_server(hang_up, tmp_path / "small.sock"):
        engine = await Dialler(tmp_path).dial(UpstreamRule("e", Reach.PROCESS, engine="small"), 2.0)
        assert engine.address == "unix"
        await accepted.wait()
        engine.abort()
    there = UpstreamConnection()
    with patch.object(UpstreamConnection, "peername", lambda _: ("fd00::1", 8000, 0, 0)):
        _check_peer(there, ip_address("fd00::1"), 8000)
    assert there.address == "[fd00::1]:8000"


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
        dialler = Dialler(tmp_path, tls_context(TlsMaterial(authority.file.read_text())))
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


@pytest.mark.parametrize(
    ("scheme", "own", "needed"), [("http", False, False), ("https", True, False), ("https", False, True)]
)
def test_the_systems_authorities_are_needed_where_tls_has_none_of_its_own(scheme: str, own: bool, needed: bool) -> None:
    rule = upstream(1, scheme=scheme)
    policy = Policy("", {rule.name: rule}, {"t": TierRule("t", (rule.name,))}, {"m": ModelRule("m", ("t",))}, "m", {})
    snapshot = Snapshot(policy, tls={rule.name: TlsMaterial("some")} if own else {})
    assert needs_system_authorities(rule, snapshot) is needed
    assert not needs_system_authorities(UpstreamRule("e", Reach.PROCESS, engine="small"), snapshot)


async def test_the_systems_authorities_are_read_once_and_not_before_tls_is_dialled(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[ssl.SSLContext] = []

    def context() -> ssl.SSLContext:
        read.append(tls_context(TlsMaterial(authority.file.read_text())))
        return read[-1]

    monkeypatch.setattr("router.gate.dial.tls_context", context)
    dialler = Dialler(tmp_path)
    async with scripted(answering(plain(b"{}"))) as port:
        (await dialler.dial(upstream(port), 2.0)).abort()
    assert read == []
    async with tls_server(authority.server().context()) as port:
        for _ in range(2):
            (await dialler.dial(upstream(port, scheme="https"), 2.0)).abort()
    assert len(read) == 1
    await asyncio.sleep(0.05)


# --- an authority and a certificate of the upstream's own ---


def _split(pem: str) -> tuple[str, str]:
    """The certificate and the key of a test server's file."""
    at = pem.index("-----BEGIN PRIVATE KEY")
    return pem[:at], pem[at:]


async def pooled(port: int, tmp_path: Path, material: TlsMaterial | None) -> bytes:
    """Dial by way of the upstream's pool and read what the server says."""
    pool = Pool(upstream(port, scheme="https"), Dialler(tmp_path), material)
    connection = await pool.fresh(2.0)
    try:
        connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await connection.head()
        return await connection.chunk() or b""
    finally:
        connection.abort()
        await asyncio.sleep(0.05)


@asynccontextmanager
async def who_calls(server: Server, authority: Authority | None) -> AsyncIterator[int]:
    """An HTTPS server that answers with the subject of its client's certificate, and wants one if `authority`."""
    context = server.context()
    if authority is not None:
        context.load_verify_locations(authority.file)
        context.verify_mode = ssl.CERT_REQUIRED

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            shown = writer.get_extra_info("peercert") or {}
            writer.write(plain(str(shown.get("subject", "nobody")).encode()))
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(script, "127.0.0.1", 0, ssl=context)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await asyncio.sleep(0.05)


async def test_only_an_upstream_with_its_own_authority_trusts_it(authority: Authority, tmp_path: Path) -> None:
    async with who_calls(authority.server(), None) as port:
        assert b"nobody" in await pooled(port, tmp_path, TlsMaterial(authority.file.read_text()))
        with pytest.raises(UpstreamFault, match=r"(?i)certificate_verify_failed"):
            await pooled(port, tmp_path, None)


async def test_an_own_authority_is_instead_of_the_systems(authority: Authority, tmp_path: Path) -> None:
    assert len(tls_context(TlsMaterial(authority.file.read_text())).get_ca_certs()) == 1


async def test_a_client_certificate_is_shown_to_who_wants_one(authority: Authority, tmp_path: Path) -> None:
    certificate, key = _split(authority.server().file.read_text())
    async with who_calls(authority.server(), authority) as port:
        shown = await pooled(port, tmp_path, TlsMaterial(authority.file.read_text(), certificate, key))
        assert b"server" in shown
        with pytest.raises(UpstreamFault):
            await pooled(port, tmp_path, TlsMaterial(authority.file.read_text()))


async def test_material_that_openssl_refuses_is_a_fault_of_that_upstream(tmp_path: Path) -> None:
    with pytest.raises(UpstreamFault, match="cannot be used") as caught:
        await pooled(
            1, tmp_path, TlsMaterial("", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "x")
        )
    assert caught.value.cause is Cause.TLS
