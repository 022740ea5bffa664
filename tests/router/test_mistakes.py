"""A mistake of ours ends the one exchange in which it is made: its client is answered, the log says where it was."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from router.api import protocol
from router.api.intake import Intake
from router.api.protocol import RouterProtocol
from router.channel.exchange import Exchange, ExchangeFailed, Waiter
from router.channel.frames import COUNT, HEADER, WINDOW, Kind, Payload, pack
from router.channel.messages import Ask, Cause, Denial, Look, Warm, encode
from router.channel.states import State, UpstreamState
from router.gate.clock import Clock
from router.gate.exchange import GateExchange
from router.gate.upstream import Upstream
from router.gate.watcher import Watcher
from router.logs import Log
from router.settings.snapshot import ManagedSettings
from router.supervisor.managed import Managed
from router.supervisor.program import ManagedProgram, Places
from router.unforeseen import described, hear, heard, kept_up
from tests.router.house import House, answering, house, plain, read_request, scripted
from tests.router.test_errand import BODY, EVENTS, STREAM, Door, Wire, door, in_parts, whole

OK = plain(b'{"ok":true}')


def hearing() -> list[Any]:
    """What the loop is told from now on."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    return told


def beside(one: Door) -> Wire:
    """Another client of the same worker has asked."""
    wire = Wire()
    worker = RouterProtocol(
        one.worker.serving, Log("test"), Intake(), config=one.worker.config, server_state=one.state, app_state={}
    )
    worker.connection_made(wire)
    worker.data_received(one.request())
    return wire


@pytest.mark.parametrize("name", ["opened", "chunk"])
async def test_a_mistake_in_the_answering_itself_cuts_the_connection(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its client would wait for an answer that never comes."""

    async def mistaken(*_: object, **__: object) -> None:
        raise KeyError("a secret word")

    monkeypatch.setattr(protocol, "refuse", mistaken)
    monkeypatch.setattr(Exchange, name, mistaken)
    one = door()
    one.ask(STREAM)
    await one.opened()
    one.hear(in_parts(1, EVENTS, b"data: {}\n\n", b"data: [DONE]\n\n"))
    assert one.client.lost
    said = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [row["event"] for row in said] == ["internal_error"] * 2
    assert all(row["reason"].startswith("KeyError at test_mistakes.py:") for row in said)


async def test_a_frame_that_is_taken_by_mistake_ends_its_exchange_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The channel of all the others went with it, and nothing said why."""
    told = hearing()
    first = door()
    first.ask()
    second = beside(first)
    assert await first.opened() == [1, 2]
    take = Exchange.take

    def mistaken(self: Exchange, kind: Kind, payload: Payload) -> Waiter | None:
        if self.number == 1:
            raise LookupError("a secret word")
        return take(self, kind, payload)

    monkeypatch.setattr(Exchange, "take", mistaken)
    first.hear(whole(1) + whole(2))
    assert first.client.data.startswith(b"HTTP/1.1 500 ")
    assert b"internal_error" in first.client.data
    assert second.data.endswith(BODY)
    assert [type(error) for error in told] == [LookupError]
    assert (1, Kind.CANCEL, b"internal_error") in await first.asked()


async def test_a_stream_in_which_a_frame_is_taken_by_mistake_ends_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = hearing()
    one = door()
    one.ask(STREAM)
    await one.opened()
    event = pack(1, Kind.DATA, b"data: {}\n\n")
    one.hear(pack(1, Kind.RECORD, COUNT.pack(7)) + pack(1, Kind.HEAD, encode(EVENTS)) + event)

    def mistaken(*_: object) -> None:
        raise LookupError("a secret word")

    monkeypatch.setattr(Exchange, "take", mistaken)
    one.hear(event)
    assert one.client.data.startswith(b"HTTP/1.1 200 ")
    assert one.client.data.count(b"data: {}") == 1
    assert b"internal_error" in one.client.data
    assert one.client.data.endswith(b"0\r\n\r\n")
    assert b"[DONE]" not in one.client.data
    assert [type(error) for error in told] == [LookupError]


async def test_a_mistake_in_reading_a_request_is_no_mistake_of_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was told that it spoke no HTTP, and nobody else was told anything."""
    told = hearing()

    def mistaken(*_: object) -> None:
        raise LookupError("a secret word")

    one = door()
    monkeypatch.setattr(RouterProtocol, "_judge_head", mistaken)
    one.ask()
    assert one.client.data.startswith(b"HTTP/1.1 500 ")
    assert [type(error) for error in told] == [LookupError]


# --- the gate's side, through a real channel and a real socket ---


def mistaken(*_: object, **__: object) -> Any:
    raise LookupError("a secret word")


@pytest.mark.parametrize("name", ["take_credit", "take_body"])
async def test_the_gate_ends_the_exchange_alone_and_records_its_outcome(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, asked, go_on = hearing(), asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        await go_on.wait()
        writer.write(OK)
        writer.close()

    async with scripted(script) as port, house(port, tmp_path) as gate:
        other = gate.ask()
        await asked.wait()
        with monkeypatch.context() as patch:
            patch.setattr(GateExchange, name, mistaken)
            one = gate.ask()
            gate.client.send(one.number, Kind.CREDIT, COUNT.pack(0))
            with pytest.raises(ExchangeFailed) as caught:
                await one.opened()
        assert caught.value.failure.cause is Cause.MISTAKE
        go_on.set()
        await other.opened()
        assert await other.chunk() == b'{"ok":true}'
        decisions = 2 if name == "take_credit" else 1
        endings = [outcome["ending"] for outcome in await gate.outcomes(decisions)]
        assert sorted(endings) == ["completed", "internal_error"][:decisions]
        assert gate.client.connected
    assert [type(error) for error in told] == [LookupError]


@pytest.mark.parametrize("kind", ["deny", "warm", "receipt", "report"])
async def test_who_asks_the_gate_in_vain_is_told_so(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task failed unheard, and its client waited for ever."""
    told = hearing()
    monkeypatch.setattr(f"router.gate.questions.Questions._{kind}", failing)
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        with pytest.raises(ExchangeFailed) as caught:
            async with asyncio.timeout(20):
                await in_vain(gate, kind)
        assert caught.value.failure.cause is Cause.MISTAKE
        assert await gate.answer() == b'{"ok":true}'
    assert [type(error) for error in told] == [LookupError]


async def failing(*_: object) -> None:
    mistaken()


async def in_vain(gate: House, kind: str) -> None:
    match kind:
        case "deny":
            await gate.client.deny(Denial("r-1", "anonymous", "m", "chat", "policy_denied")).recorded()
        case "warm":
            await gate.client.warm(Warm("", 1.0)).answered()
        case "receipt":
            await gate.client.receipt(Ask(0, "anonymous")).answered()
        case _:
            await gate.client.report(Look()).answered()


# --- a broken frame stream still ends the channel, and the log says where ---


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(HEADER.pack(0, 1, 99), id="no kind"),
        pytest.param(pack(1, Kind.OPEN, b"\x91\xa2\xff\xfe"), id="no UTF-8"),
        pytest.param(pack(1, Kind.OPEN, b"\x91" * 5000), id="too deep"),
        pytest.param(pack(1, Kind.STATES), id="none of a worker's"),
    ],
)
async def test_a_broken_worker_loses_its_channel(frames: bytes, tmp_path: Path) -> None:
    told = hearing()
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        gate.worker_sock.send(frames)
        await until_lost(gate)
    assert [type(error).__name__ for error in told] == ["ChannelError"]


@pytest.mark.parametrize("size", [0, -1, -(1 << 60), 1 << 62])
async def test_a_body_of_no_possible_length_is_a_broken_frame(size: int, tmp_path: Path) -> None:
    """Whatever policy it names: one that decided by an older policy was told of that instead."""
    told = hearing()
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        gate.ask(b"", body_bytes=size, policy="older" if size < 1 else "digest")
        await until_lost(gate)
        assert not gate.ledger.records
    assert [type(error).__name__ for error in told] == ["ChannelError"]


async def test_more_credit_than_was_sent_is_a_broken_frame(tmp_path: Path) -> None:
    """A worker that grants without reading would have the gate hold whatever an upstream says."""
    told, asked = hearing(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        await reader.read()

    async with scripted(script) as port, house(port, tmp_path) as gate:
        one = gate.ask()
        await asked.wait()
        gate.client.send(one.number, Kind.CREDIT, COUNT.pack(WINDOW))
        await until_lost(gate)
        assert [outcome["ending"] for outcome in await gate.outcomes()] == ["worker_lost"]
    assert [type(error).__name__ for error in told] == ["ChannelError"]


async def until_lost(gate: House) -> None:
    async with asyncio.timeout(20):
        while gate.client.connected:
            await asyncio.sleep(0.005)


# --- who hears of it ---


async def test_who_is_rung_by_mistake_keeps_no_other_from_being_rung() -> None:
    class Sleeper:
        def __init__(self, *, fails: bool) -> None:
            self.rung = asyncio.Event()
            self._fails = fails

        def ring(self) -> None:
            self.rung.set()
            if self._fails:
                mistaken()

    told, loop = hearing(), asyncio.get_running_loop()
    clock, sleepers = Clock(loop), [Sleeper(fails=True), Sleeper(fails=False), Sleeper(fails=True)]
    for sleeper in sleepers:
        clock.add(sleeper, loop.time())
    async with asyncio.timeout(20):
        for sleeper in sleepers:
            await sleeper.rung.wait()
    assert [type(error) for error in told] == [LookupError] * 2


async def test_what_fails_in_a_loop_is_said_with_its_place_and_without_its_words(
    capfd: pytest.CaptureFixture[str],
) -> None:
    loop = asyncio.get_running_loop()
    hear(loop, Log("test"))
    loop.call_soon(mistaken)
    task = asyncio.create_task(failing())
    task.add_done_callback(heard)
    left = asyncio.create_task(asyncio.sleep(60))
    left.add_done_callback(heard)
    left.cancel()
    await asyncio.wait((task, left))
    loop.call_exception_handler({"message": "nothing was raised"})
    await asyncio.sleep(0)
    said = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert {row["event"] for row in said} == {"internal_error"}
    first, second, third = sorted(str(row["reason"]) for row in said)
    assert first == second
    assert first.startswith("LookupError at test_mistakes.py:")
    assert third == "nothing was raised"


async def test_an_upstream_that_is_looked_at_by_mistake_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looked at it ever again, and it stayed as it was."""
    told, left = hearing(), [3]
    look = Watcher._ask

    async def asked(self: Watcher, upstream: Upstream) -> None:
        left[0] -= 1
        if left[0] >= 0:
            mistaken()
        await look(self, upstream)

    monkeypatch.setattr(Watcher, "_ask", asked)
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        upstream = gate.upstreams._all["u"]
        upstream.identity = None
        upstream.become(UpstreamState("u", State.COLD))
        gate.upstreams._watcher.until_ready(upstream)
        async with asyncio.timeout(20):
            while not gate.upstreams.is_ready("u"):
                await asyncio.sleep(0.005)
    reasons = [transition.reason for transition in upstream.transitions]
    assert "internal_error: looking at it failed by a mistake of ours: see the log" in reasons
    assert [type(error) for error in told] == [LookupError]


async def test_a_program_that_nobody_would_see_end_ends_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would look alive for ever, and hold what others wait for."""
    monkeypatch.setattr(Managed, "_watch", failing)
    monkeypatch.setattr("router.supervisor.managed.adopt", lambda: None)
    managed = Managed(Places(tmp_path, tmp_path / "homes"), {}, Log("test"), lambda _: None, lambda: None)
    started = ManagedProgram(ManagedSettings("p", ("/bin/true",), network="loopback"))

    async def start(*_: object) -> None:
        """It runs."""

    monkeypatch.setattr(ManagedProgram, "start", start)
    running = asyncio.create_task(managed.run())
    await managed._start(started, "asked")
    with pytest.raises(LookupError):
        async with asyncio.timeout(20):
            await running


def test_what_was_never_raised_has_no_place() -> None:
    assert described(PermissionError(13, "Permission denied", "/a/path")) == "PermissionError (Permission denied)"


async def test_what_is_kept_up_begins_again_until_it_ends_by_itself(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("router.unforeseen.AGAIN_S", 0.01)
    failures = [LookupError("a secret word"), ValueError("another")]

    async def work() -> None:
        if failures:
            raise failures.pop()

    await kept_up("what is done", work, Log("test"))
    said = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(row["event"], row["state"]) for row in said] == [("task_failed", "what is done")] * 2
    assert said[0]["reason"].startswith("ValueError at test_mistakes.py:")
    assert said[0]["reason"].endswith("; it begins again in 0.01 s")
    assert "secret" not in str(said)
