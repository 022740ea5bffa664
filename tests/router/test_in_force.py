"""What was taken away while an exchange waited gets nothing of it; what stays is served all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from policies import Destination, Policy, TierRule
from router.audit import Kind
from router.channel.exchange import ExchangeFailed
from router.channel.messages import Cause
from router.gate.dial import Dialler
from router.gate.upstreams import Ears, Upstreams
from router.gate.world import World
from router.verdicts import Verdicts
from tests.router.house import House, house, plain, read_request, scripted

OK = plain(b'{"id":"x"}')


def without_it(policy: Policy) -> Policy:
    upstreams = {name: rule for name, rule in policy.upstreams.items() if name != "u"}
    return replace(policy, digest="new", upstreams=upstreams, tiers={**policy.tiers, "t": TierRule("t", ())})


def elsewhere(policy: Policy) -> Policy:
    moved = replace(policy.upstreams["u"], destination=Destination("http", "127.0.0.1", 9, "/v1"))
    return replace(policy, digest="new", upstreams={**policy.upstreams, "u": moved})


def nobody(policy: Policy) -> Policy:
    return replace(policy, digest="new", any_caller=False)


def the_same(policy: Policy) -> Policy:
    return replace(policy, digest="new")


CHANGES = [(without_it, False), (elsewhere, False), (nobody, False), (the_same, True)]


def take(gate: House, change: Any, directory: Path) -> None:
    before = gate.gate.world
    snapshot = replace(before.snapshot, policy=change(before.snapshot.policy))
    ears = Ears(lambda *_: None, lambda: None, lambda _: None)
    upstreams = Upstreams(snapshot, Dialler(directory), ears, before.upstreams)
    gate.gate.swap(World(snapshot, before.recorder, upstreams, before.admissions, Verdicts(snapshot.policy)))


@pytest.mark.parametrize(("change", "served"), CHANGES)
@pytest.mark.parametrize("waiting", ["queue", "ledger"])
async def test_settings_hold_for_what_still_waits(change: Any, served: bool, waiting: str, tmp_path: Path) -> None:
    asked: list[bytes] = []
    answer = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked.append(await read_request(reader))
            await answer.wait()
            writer.write(OK)

    async with scripted(script) as port, house(port, tmp_path, concurrency=1) as gate:
        first = asyncio.ensure_future(gate.answer()) if waiting == "queue" else None
        while waiting == "queue" and not asked:
            await asyncio.sleep(0.005)
        gate.ledger.held = waiting == "ledger"
        second = asyncio.ensure_future(gate.answer(request_id="r-2"))
        await asyncio.sleep(0.05)  # it waits for its place, or for the disk
        take(gate, change, tmp_path)
        gate.ledger.held = False
        gate.ledger.told(len(gate.ledger.records) - 1)
        answer.set()
        if first is not None:
            assert await first == b'{"id":"x"}'
        if served:
            assert await second == b'{"id":"x"}'
            return
        with pytest.raises(ExchangeFailed) as caught:
            await second
        assert caught.value.failure.cause is Cause.STALE_POLICY
        assert len(asked) == (1 if first is not None else 0)
        told = gate.ledger.bodies(Kind.DENIAL)[0]["reason"] if first else (await gate.outcomes())[0]["ending"]
        assert told == "stale_policy"
