"""A system that has no room for another thread, process or descriptor, for a while."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import cast

import msgspec
import pytest
from msgspec.structs import replace

from router.channel.control import Message, Word
from router.settings.snapshot import Listen, ManagedSettings, Snapshot
from router.supervisor.program import CannotStart, ManagedProgram, Places
from router.supervisor.reload import Reloader
from router.supervisor.tree import Tree
from tests.router.house import snapshot_for
from tests.router.test_control import child, descriptors, until
from tests.router.test_handing import no_descriptors
from tests.router.test_reloading import NoTree

NO_THREAD = "can't start new thread"
THREADED = pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python waits for processes without a thread")


@contextmanager
def no_threads() -> Iterator[None]:
    """As under a cgroup's pids.max."""

    def start(_self: threading.Thread) -> None:
        raise RuntimeError(NO_THREAD)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        yield


@THREADED
async def test_a_child_that_cannot_be_waited_for_is_started_again(capfd: pytest.CaptureFixture[str]) -> None:
    events: list[str] = []
    one = child(msgspec.json.encode(Message(Word.PONG)), events, stays=True)
    with no_threads():
        running = asyncio.create_task(one.run())
        await until(lambda: one.restarts >= 2 or running.done())
    await until(lambda: "started" in events or running.done())
    one.stop()
    one.kill()
    await running
    assert f'"event":"process_not_started","state":"worker-0","reason":"{NO_THREAD}"' in capfd.readouterr().err


@pytest.mark.parametrize(
    ("short", "why"),
    [(no_descriptors, "Too many open files"), pytest.param(no_threads, NO_THREAD, marks=THREADED)],
)
async def test_a_program_that_cannot_be_started_says_why_and_leaves_nothing(
    short: Callable[[], AbstractContextManager[None]], why: str, tmp_path: Path
) -> None:
    program = ManagedProgram(ManagedSettings("p", ("/bin/true",), network="loopback"))
    places = Places(tmp_path, tmp_path / "homes")
    before = descriptors()
    with short(), pytest.raises(CannotStart, match=f"cannot be started: {why}"):
        await program.start(places, {}, 0.0, lambda _: None)
    assert (program.lifeline, program.report, descriptors()) == (-1, None, before)


async def test_settings_that_cannot_be_read_for_want_of_a_thread_are_refused() -> None:
    tree = NoTree()

    def load() -> Snapshot:
        return snapshot_for(1)

    reloader = Reloader(snapshot_for(1), cast("Tree", tree), load, lambda _: None)
    with no_threads():
        assert not (await reloader.reload("watch")).taken
    assert tree.heard[0] == f"watch: the settings cannot be read now: {NO_THREAD}: try again"


async def test_a_service_whose_supervisor_fails_unforeseen_ends_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Rather than living on without a process that nobody would start again."""

    def fails(_self: Tree, _control: int) -> list[str]:
        raise LookupError("of a prompt perhaps")

    monkeypatch.setattr(Tree, "_gate_command", fails)
    with socket.socket() as listener:
        tree = Tree(replace(snapshot_for(1), listen=Listen(workers=0)), listener, tmp_path, {})
        async with asyncio.timeout(20):
            await tree.run()
    assert tree.failure is not None
    assert tree.failure.startswith(
        "the service ends: its supervisor failed unforeseen: LookupError at test_shortage.py:"
    )
    said = capfd.readouterr().err
    assert '"event":"supervisor_failed"' in said
    assert "of a prompt" not in said + tree.failure
