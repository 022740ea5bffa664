"""While settings are read, which may take long, the supervisor looks after its processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import cast

import pytest
from msgspec.structs import replace

from policies import Destination, UpstreamRule
from router.settings.findings import Finding, SettingsError
from router.settings.snapshot import Snapshot
from router.supervisor.reload import Reloader
from router.supervisor.tree import Tree
from tests.router.house import snapshot_for


class NoTree:
    """Hears that new settings are refused."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def refused(self, reason: str, actor: str) -> None:
        self.heard.append(f"{actor}: {reason}")

    def notice(self, text: str) -> None:
        self.heard.append(text)


class TakesAll(NoTree):
    """Serves by whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.snapshots: list[Snapshot] = []

    def reload(self, snapshot: Snapshot, _actor: str) -> None:
        self.snapshots.append(snapshot)

    async def in_force(self, _wait_s: float) -> bool:
        return True

    def ordered(self, body: Mapping[str, str]) -> None:
        self.heard.append(body["result"])


async def test_a_file_that_takes_long_to_read_keeps_the_supervisor_from_nothing() -> None:
    entered, go_on = threading.Event(), threading.Event()
    tree = NoTree()

    def load() -> Snapshot:
        entered.set()
        assert go_on.wait(20), "the loop stands still"
        raise SettingsError((Finding("policy.yaml", 1, 1, "", "is none"),))

    reloader = Reloader(snapshot_for(1), cast("Tree", tree), load, lambda _: None)
    reloading = asyncio.create_task(reloader.reload("test"))
    async with asyncio.timeout(20):
        while not entered.is_set():
            await asyncio.sleep(0.01)
    go_on.set()
    assert not (await reloading).taken
    assert tree.heard[0].startswith("test: policy.yaml:1:1")


async def test_a_working_directory_that_is_gone_is_a_refusal() -> None:
    tree = NoTree()
    said: list[str] = []

    def load() -> Snapshot:
        raise FileNotFoundError(2, "No such file or directory")

    reloader = Reloader(snapshot_for(1), cast("Tree", tree), load, said.append)
    assert not (await reloader.reload("SIGHUP")).taken
    assert tree.heard[0].startswith("SIGHUP: the settings cannot be read: No such file or directory")
    assert "stay in force" in said[0]


async def test_signals_that_come_while_one_waits_are_one() -> None:
    """Else an order to narrow would stand behind hundreds of reloads that read the same file."""
    tree = NoTree()
    began, go_on, loads = threading.Event(), threading.Event(), []

    def load() -> Snapshot:
        loads.append(1)
        began.set()
        assert go_on.wait(20)
        raise SettingsError((Finding("policy.yaml", 1, 1, "", "is none"),))

    reloader = Reloader(snapshot_for(1), cast("Tree", tree), load, lambda _: None)
    first = asyncio.create_task(reloader.signalled())
    async with asyncio.timeout(20):
        while not began.is_set():
            await asyncio.sleep(0.01)
    more = [asyncio.create_task(reloader.signalled()) for _ in range(50)]
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(first, *more)
    assert len(loads) == 2, "the one under way, and one that reads what has changed since it began"
    await reloader.signalled()
    assert len(loads) == 3


@pytest.mark.parametrize("lift", [False, True])
async def test_a_narrowing_does_not_wait_for_a_file_and_outlives_what_is_read(lift: bool) -> None:
    """Only a lift makes it wait: what is taken away after it was ordered must not go with it."""
    tree = TakesAll()
    began, go_on = threading.Event(), threading.Event()
    snapshot = snapshot_for(1)
    name = next(iter(snapshot.policy.upstreams))

    def load() -> Snapshot:
        began.set()
        assert go_on.wait(20)
        return snapshot

    reloader = Reloader(snapshot, cast("Tree", tree), load, lambda _: None)
    reloading = asyncio.create_task(reloader.reload("test", lift=lift))
    async with asyncio.timeout(20):
        while not began.is_set():
            await asyncio.sleep(0.01)
        narrowing = asyncio.create_task(reloader.narrow([name], "", "op"))
        await (asyncio.sleep(0.05) if lift else narrowing)
        assert narrowing.done() is not lift
        go_on.set()
        assert (await reloading).taken
        assert (await narrowing).taken
    assert name not in tree.snapshots[-1].policy.upstreams
    assert [name in one.policy.upstreams for one in tree.snapshots] == ([True, False] if lift else [False, False])


def test_a_stop_does_not_wait_for_a_file_that_cannot_be_read() -> None:
    """As on a file system that answers no more."""
    entered, never = threading.Event(), threading.Event()
    ended: list[str] = []

    def load() -> Snapshot:
        entered.set()
        never.wait(60)
        raise SettingsError((Finding("policy.yaml", 1, 1, "", "is none"),))

    async def service() -> None:
        reloader = Reloader(snapshot_for(1), cast("Tree", NoTree()), load, lambda _: None)
        reloading = asyncio.create_task(reloader.reload("test"))
        while not entered.is_set():
            await asyncio.sleep(0.01)
        reloading.cancel()

    def run() -> None:
        asyncio.run(service())
        ended.append("stopped")

    running = threading.Thread(target=run, daemon=True)
    running.start()
    running.join(20)
    never.set()  # what reads finds no loop any more
    assert ended == ["stopped"]


async def test_reloads_follow_who_moves_and_is_renamed_and_tell_who_else_is_away() -> None:
    first = snapshot_for(1)
    name, rule = next(iter(first.policy.upstreams.items()))
    twin = replace(rule, name="twin")
    moved = replace(rule, destination=Destination("http", "127.0.0.1", 2, "/v1"))

    def listing(*rules: UpstreamRule) -> Snapshot:
        return replace(first, policy=replace(first.policy, upstreams={one.name: one for one in rules}, tiers={}))

    files = iter([listing(moved, twin), listing(replace(moved, name="renamed"))])
    tree = TakesAll()
    reloader = Reloader(listing(rule, twin), cast("Tree", tree), lambda: next(files), lambda _: None)
    assert "so away too: twin" in (await reloader.narrow([name], "", "op")).text
    assert "taken; at an address that is left out, so away too: twin" in tree.heard
    assert "so away too: twin" in (await reloader.reload("test")).text
    assert "at its place is renamed now, and stays away too" in (await reloader.reload("test")).text
    assert [dict(one.policy.upstreams) for one in tree.snapshots] == [{}, {}, {}]


async def test_settings_that_are_read_by_mistake_are_refused_and_recorded() -> None:
    """By SIGHUP or a watched file it was said nowhere, and the file was watched no more."""

    def load() -> Snapshot:
        raise LookupError("a secret word")

    tree, said = NoTree(), list[str]()
    reloader = Reloader(snapshot_for(1), cast("Tree", tree), load, said.append)
    await reloader.signalled()
    assert tree.heard[0].startswith("SIGHUP: the settings cannot be read, by a mistake of ours: LookupError at ")
    assert "the old ones stay in force" in said[0]
    assert "secret" not in str(tree.heard + said)
