"""What the gate bounds whatever its workers do, and how the ledger tells of what went wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from router.audit import Kind
from router.channel.exchange import ExchangeFailed
from router.channel.frames import PIECE
from router.channel.frames import Kind as Frame
from router.channel.messages import Cause
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
        exchange = gate.ask(b"", body_bytes=PIECE + 2)
        gate.client.send(exchange._number, Frame.BODY, b" " * (PIECE + 1))
        async with asyncio.timeout(5):
            while gate.gate._bodies._held:
                await asyncio.sleep(0.01)
        assert not gate.ledger.records


async def test_a_mistake_of_ours_is_not_taken_for_a_whole_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("router.gate.relay.Relay.run", broken)
    async with scripted(answering(OK)) as port, house(port, tmp_path) as gate:
        with pytest.raises(ExchangeFailed) as caught:
            await gate.answer()
        assert caught.value.failure.cause is Cause.PROTOCOL
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
