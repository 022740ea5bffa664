"""`ringfence audit anchor --to` beside a running service: the gate records, and only then asks the witness."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from policies import Destination
from router.audit import Kind
from router.channel.anchors import AnchorTold
from router.channel.control import Message, Word
from router.channel.exchange import ExchangeFailed
from router.gate.dial import Dialler
from router.gate.witnessing import ask_witness
from router.gate.world import World
from router.settings.snapshot import Witness
from router.supervisor import anchoring
from router.supervisor.anchoring import Anchoring
from tests.audit.ledgers import build
from tests.e2e.conversations import CHAT, chat, policy, wait_until_ready
from tests.fakes.running import fake_upstream
from tests.fakes.witness import running_witness
from tests.router.house import house, scripted
from tests.service import ringfence, running, until


def test_beside_a_service_the_gate_asks_and_records(tmp_path: Path) -> None:
    listed = '\nwitnesses: {{w: {{url: "{0}", vkey: "{1}"}}, gone: {{url: "http://127.0.0.1:9", vkey: "{1}"}}}}\n'
    anchor = ("audit", "anchor", "ledger", "--config", "policy.yaml", "--out", "cosigned", "--to")
    with running_witness() as witness, fake_upstream() as fake:
        rules = policy(fake) + listed.format(witness.url, witness.vkey)
        with running(tmp_path, rules) as service:
            wait_until_ready(service)
            assert service.post(CHAT, chat()).status_code == 200
            service.settled(1)
            checkpoint = service.ledger / "checkpoint"
            until(lambda: int(checkpoint.read_text().splitlines()[1]) > 0, 20, "a checkpoint with records")
            unknown = ringfence(tmp_path, *anchor, "w")
            assert (unknown.returncode, "it does not know this log" in unknown.stderr) == (3, True)
            witness.trust((service.ledger / "log.vkey").read_text())
            done = ringfence(tmp_path, *anchor, "w")
            assert (done.returncode, "w cosigned " in done.stdout) == (0, True), done.stderr
            nobody = ringfence(tmp_path, *anchor, "gone")
            assert (nobody.returncode, "cannot be asked: refused" in nobody.stderr) == (3, True), nobody.stderr

            (tmp_path / "policy.yaml").write_text(policy(fake))
            assert ringfence(tmp_path, "reload", "--config", "policy.yaml").returncode == 0
            (tmp_path / "policy.yaml").write_text(rules)
            unlisted = ringfence(tmp_path, *anchor, "w")
            assert (unlisted.returncode, "no witness 'w' is in force in the service" in unlisted.stderr) == (3, True)

            run = tmp_path / "ledger-run"
            shutil.move(run, tmp_path / "elsewhere")
            silent = ringfence(tmp_path, *anchor, "w")
            assert (silent.returncode, "and does not answer" in silent.stderr) == (3, True), silent.stderr
            shutil.move(tmp_path / "elsewhere", run)

            records = service.records()
            decisions = [one for one in records if one["body"].get("endpoint") == "audit/anchor"]
            assert [one["body"]["upstream"] for one in decisions] == ["w", "w", "gone"]
            assert {(one["body"]["caller"], one["body"]["reach"]) for one in decisions} == {("operator", "host")}
            ends = {one["body"]["decision"]: one["body"] for one in records if one["kind"] == "outcome"}
            told = [ends[one["i"]] for one in decisions]
            assert [(one["ending"], one["status"]) for one in told] == [
                ("completed", 404),
                ("completed", 200),
                ("refused", 0),
            ]
            assert [one["sent_bytes"] > 0 for one in told] == [True, True, False]
            assert told[1]["address"] == witness.url.removeprefix("http://").partition("/")[0]
            assert len(witness.asked) == 2
        verified = ringfence(tmp_path, "audit", "verify", "ledger", "--note", "cosigned")
        assert (verified.returncode, "1 of 1 numbers from outside agree" in verified.stdout) == (0, True)
        assert len(service.records("decision")) == 4
        assert ringfence(tmp_path, *anchor, "w").returncode == 0, "of a ledger that nobody writes: without a record"
        assert len(service.records("decision")) == 4


def listing(world: World, port: int, directory: Path) -> World:
    """The same with a witness, and with the ledger there."""
    witness = Witness("w", Destination("http", "127.0.0.1", port, "/w"), "")
    audit = replace(world.snapshot.audit, directory=str(directory))
    return dataclasses.replace(world, snapshot=replace(world.snapshot, witnesses=(witness,), audit=audit))


async def test_without_a_record_no_witness_is_asked_and_who_is_interrupted_leaves_one(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        await asyncio.Event().wait()

    directory = build(tmp_path / "ledger", exchanges=1)
    async with scripted(silent) as port, house(port, tmp_path) as parts:
        world = listing(parts.gate.world, port, directory)
        asking = asyncio.create_task(ask_witness("1", "w", world, Dialler(tmp_path)))
        while not asked:
            await asyncio.sleep(0.005)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        [outcome] = parts.ledger.bodies(Kind.OUTCOME)
        assert (outcome["ending"], outcome["status"], outcome["sent_bytes"] > 0) == ("interrupted", 0, True)
        parts.ledger.fail("the disk is gone")
        told = await ask_witness("2", "w", world, Dialler(tmp_path))
        assert (told.note, told.trouble) == ("", "it cannot be recorded, so nothing was asked: the disk is gone")
        assert len(asked) == 1


DRIPS = b"HTTP/1.1 200 OK\r\nX-Padding: and on it goes"


async def test_what_a_witness_drips_is_counted_though_its_answer_never_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of an upstream. It was told as if nothing had come."""
    monkeypatch.setattr("router.gate.question.ANSWER_S", 0.5)

    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for at in range(len(DRIPS)):
            writer.write(DRIPS[at : at + 1])
            await writer.drain()
        await asyncio.Event().wait()

    directory = build(tmp_path / "ledger", exchanges=1)
    async with scripted(drips) as port, house(port, tmp_path) as parts:
        world = listing(parts.gate.world, port, directory)
        told = await ask_witness("1", "w", world, Dialler(tmp_path))
        assert told.trouble == "the witness w cannot be asked: cold: silent"
        with pytest.raises(ExchangeFailed):
            await parts.answer()
        of_the_witness, of_the_upstream = await parts.outcomes(2)
    assert (of_the_witness["ending"], of_the_upstream["ending"]) == ("cold", "first_token_timeout")
    assert of_the_witness["received_bytes"] == of_the_upstream["received_bytes"] == len(DRIPS)


async def test_an_operator_hears_of_a_witness_that_is_asked_by_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was a minute until somebody said that nobody had answered."""

    async def mistaken(*_: object) -> None:
        raise LookupError("a secret word")

    monkeypatch.setattr("router.gate.witnessing.anchor", mistaken)
    async with house(1, tmp_path) as parts:
        told = await ask_witness("1", "w", listing(parts.gate.world, 1, tmp_path), Dialler(tmp_path))
        [outcome] = parts.ledger.bodies(Kind.OUTCOME)
    assert told.trouble.startswith("asking the witness failed by a mistake of ours: LookupError at test_anchoring.py:")
    assert outcome["ending"] == "internal_error"


async def test_a_gate_that_says_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Message] = []
    asking = Anchoring(sent.append)
    answer = asyncio.create_task(asking.ask("w"))
    await asyncio.sleep(0)
    told = msgspec.json.encode(AnchorTold(trouble="no")).decode()
    asking.heard(Message(Word.ANCHORED, name="7", text=told))  # to a question that nobody asked
    asking.heard(Message(Word.ANCHORED, name=sent[0].name, text=told))
    asking.begun()
    assert (await answer).text == told
    answer = asyncio.create_task(asking.ask("w"))
    await asyncio.sleep(0)
    asking.begun()
    ended = await answer
    assert (ended.good, "the gate ended before" in ended.text) == (False, True)
    monkeypatch.setattr(anchoring, "ANSWERED_WITHIN_S", 0.01)
    late = await asking.ask("w")
    assert (late.good, "has not said" in late.text) == (False, True)
