"""What the gate bounds whatever its workers do, and how the ledger tells of what went wrong."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import msgspec
import pytest

from router.audit import Kind
from router.audit.fields import Outcome
from router.channel.exchange import ExchangeFailed
from router.channel.frames import WINDOW
from router.channel.frames import Kind as Frame
from router.channel.messages import Cause
from router.settings.snapshot import CaptureRule, Snapshot
from tests.router.house import answering, house, plain, read_request, scripted

OK = plain(b'{"ok":true}')


async def test_more_bodies_than_may_be_held_are_refused_whatever_the_worker_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.gate.budget.LEAST", 0)
    monkeypatch.setattr("router.gate.budget.BODIES", 0)
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        with pytest.raises(ExchangeFailed) as caught:
            await gate.answer()
        assert (caught.value.failure.cause, caught.value.failure.retry_after_s) == (Cause.BUSY, 1.0)
        assert gate.ledger.bodies(Kind.DENIAL)[0]["reason"] == "busy"
        monkeypatch.setattr("router.gate.budget.BODIES", 1)
        for _ in range(3):
            assert await gate.answer() == b'{"ok":true}'


async def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.gate.server.SWEEP_S", 0.02)
    monkeypatch.setattr("router.gate.exchange.BODY_S", 0.05)
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        gate.ask(b"", body_bytes=5)
        async with asyncio.timeout(5):
            while gate.gate._bodies._held or not gate.gate._idle.is_set():
                await asyncio.sleep(0.01)
        assert not gate.ledger.records


async def test_larger_pieces_than_a_worker_sends_end_the_exchange(tmp_path: Path) -> None:
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        exchange = gate.ask(b"", body_bytes=WINDOW + 2)
        gate.client.send(exchange.number, Frame.BODY, b" " * (WINDOW + 1))
        assert await gate.answer() == b'{"ok":true}'  # asked after it, on the same channel
        assert not gate.gate._bodies._held
        assert len(gate.ledger.bodies(Kind.DECISION)) == 1


async def test_a_mistake_of_ours_is_not_taken_for_a_whole_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("router.gate.relay.Relay.run", broken)
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        with pytest.raises(ExchangeFailed) as caught:
            await gate.answer()
        assert caught.value.failure.cause is Cause.MISTAKE
        assert (await gate.outcomes())[0]["ending"] == "internal_error"


async def test_a_request_that_went_out_twice_counts_twice(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked.append(await read_request(reader))
            if len(asked) == 2:
                return  # a kept connection, closed with the request unanswered
            writer.write(OK)

    async with scripted(script) as port, house(port, tmp_path) as gate:
        assert await gate.answer() == await gate.answer() == b'{"ok":true}'
        once, twice = await gate.outcomes(2)
    assert len(asked) == 3
    assert twice["sent_bytes"] == 2 * once["sent_bytes"]


class SlowSeal:
    """Sealed capture on a slow disk: what has passed is sealed long after the exchange was cut."""

    def __init__(self) -> None:
        self.sealing = asyncio.Event()
        self.go_on = asyncio.Event()
        self.sealed = False

    async def take(self, data: bytes) -> None:
        """Nothing is sealed while it passes."""

    async def finish_cut(self) -> None:
        self.sealing.set()
        await self.go_on.wait()
        self.sealed = True

    def tell(self, outcome: Outcome) -> None:
        if self.sealed:
            outcome.capture = "sealed"


def captured(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(snapshot, capture=CaptureRule(models=frozenset({"m"})))


@pytest.fixture
def tap(monkeypatch: pytest.MonkeyPatch) -> SlowSeal:
    """Of every answer."""
    slow = SlowSeal()

    async def sealed(*_: object) -> str:
        return "ab" * 32

    async def opened(*_: object) -> SlowSeal:
        return slow

    monkeypatch.setattr("router.gate.recorder.Recorder.seal_prompt", sealed)
    monkeypatch.setattr("router.gate.recorder.Recorder.open_tap", opened)
    return slow


@pytest.mark.parametrize("stops", [True, False])
async def test_who_leaves_while_a_cut_answer_is_sealed_takes_nothing_from_its_outcome(
    tmp_path: Path, tap: SlowSeal, *, stops: bool
) -> None:
    """Its worker may dislike it in the same moment, or the gate end: the ledger still says what was kept."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK[:-5])
        writer.close()

    async with scripted(cut) as port, house(port, tmp_path, captured) as gate:
        exchange = gate.ask()
        await tap.sealing.wait()
        ending = asyncio.ensure_future(gate.gate.drain(0)) if stops else None
        exchange.cancel(Cause.BAD_ANSWER)
        await asyncio.sleep(0.05)
        tap.go_on.set()
        (outcome,) = await gate.outcomes()
        if ending is not None:
            await ending
    assert (outcome["ending"], outcome.get("capture")) == ("upstream_broke", "sealed")


@pytest.mark.parametrize("lost", [True, False])
async def test_what_is_cut_at_the_end_is_sealed_before_the_ledger_closes(
    tmp_path: Path, tap: SlowSeal, *, lost: bool
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await reader.read()

    async with scripted(script) as port, house(port, tmp_path, captured) as gate:
        gate.ask()
        async with asyncio.timeout(5):
            while not gate.ledger.bodies(Kind.DECISION):
                await asyncio.sleep(0.005)
        if lost:
            gate.client.close()
            await tap.sealing.wait()
        ending = asyncio.ensure_future(gate.gate.drain(0))
        await tap.sealing.wait()
        await asyncio.sleep(0.1)
        assert not ending.done()
        tap.go_on.set()
        await ending
        (outcome,) = gate.ledger.records_at_its_end(Kind.OUTCOME)
        assert (outcome["ending"], outcome["capture"]) == ("worker_lost" if lost else "gate_stopped", "sealed")


async def test_what_cannot_be_sealed_keeps_no_gate_from_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.gate.server.LAST_WORDS_S", 0.1)
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        gate.gate._idle.clear()  # as if something under way never ended
        async with asyncio.timeout(5):
            await gate.gate.drain(0)


async def test_a_clock_that_is_set_back_lets_nobody_rest_for_longer(tmp_path: Path) -> None:
    """Who said 429 was passed over until the day came again."""
    busy = plain(b"{}", "429 Too Many Requests", extra="Retry-After: 7\r\n")
    async with scripted(answering(busy)) as port, house(port, tmp_path) as gate:
        await gate.answer()
        await gate.outcomes()
        async with asyncio.timeout(5):
            while not gate.upstreams.reports("u")[0].rest_until:
                await asyncio.sleep(0.005)
        [report] = gate.upstreams.reports("u")
        [load] = [one for one in json.loads(gate.upstreams.loads()) if one["name"] == "u"]
        assert 0 < load["rest_until"] - time.monotonic() <= 7
        assert 0 < report.rest_until - time.time() <= 7.1
