"""While settings are read, which may take long, the supervisor looks after its processes."""

from __future__ import annotations

import asyncio
import threading
from typing import cast

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
