"""Settings that cannot be handed on, and orders that fail in a way that nobody thought of."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from msgspec.structs import replace

from router.channel.control import Message, Word, memory_file, read_memory_file
from router.channel.steering import NarrowAsk, NarrowTold
from router.logs import Log
from router.settings.codec import decode
from router.settings.snapshot import Snapshot
from router.supervisor import handing
from router.supervisor.anchoring import Anchoring
from router.supervisor.child import Child
from router.supervisor.handing import CannotReload, Handing
from router.supervisor.managed import Managed
from router.supervisor.obey import Commander
from router.supervisor.orders import SOCKET, Order, Orders, Told
from router.supervisor.reload import Reloader
from router.supervisor.tree import Tree
from tests.router.house import snapshot_for


class Hearing:
    """A child that notes which settings it is sent."""

    def __init__(self, name: str) -> None:
        self.program = SimpleNamespace(name=name)
        self.alive = True
        self.got: list[tuple[str, Snapshot]] = []

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        assert message.word is Word.SETTINGS
        self.got.append((message.name, decode(read_memory_file(os.dup(descriptors[0])))))


@contextmanager
def no_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_settings_that_cannot_be_handed_on_do_not_come_into_force() -> None:
    old = snapshot_for(1)
    new = replace(old, source="new")
    both = Handing(old, Log("supervisor"))
    gate = Hearing("gate")
    child = cast("Child", gate)
    with no_descriptors(), pytest.raises(CannotReload, match="Too many open files"):
        both.swap(new, "SIGHUP", child)
    assert (both.snapshot, gate.got) == (old, [])
    both.swap(new, "SIGHUP", child)
    assert [(actor, one.source) for actor, one in gate.got] == [("SIGHUP", "new")]
    assert both.has_newest(child)


async def test_who_could_not_be_sent_settings_is_sent_them_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(handing, "AGAIN_S", 0.02)
    both = Handing(snapshot_for(1), Log("supervisor"))
    worker, gone = Hearing("worker-0"), Hearing("worker-1")
    gone.alive = False
    with no_descriptors():
        both.begin(cast("Child", worker))
        both.begin(cast("Child", gone))
        await asyncio.sleep(0.05)
    async with asyncio.timeout(20):
        while not worker.got:
            await asyncio.sleep(0.01)
    assert both.has_newest(cast("Child", worker))
    assert (len(worker.got), gone.got) == (1, [])
    said = capfd.readouterr().err
    assert '"event":"settings_not_sent","state":"worker-0","reason":"Too many open files"' in said


async def test_a_reload_that_cannot_be_handed_on_is_refused(tmp_path: Path) -> None:
    old = snapshot_for(1)
    with socket.socket() as listener:
        tree = Tree(old, listener, tmp_path, {})
        with no_descriptors(), pytest.raises(CannotReload, match="cannot be handed on: Too many open files"):
            tree.reload(replace(old, source="new"), "SIGHUP")
        async with asyncio.timeout(5):
            assert not await tree.in_force(0)


def test_a_file_of_settings_that_does_not_fit_leaves_no_descriptor() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            memory_file(b"x" * 4096)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def _ask(directory: Path) -> Told:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"{directory}/{SOCKET}")
        sock.sendall(msgspec.json.encode(Order("reload")) + b"\n")
        with sock.makefile("rb") as answer:
            return msgspec.json.decode(answer.readline(), type=Told)


async def test_an_order_that_fails_unforeseen_is_answered_and_the_next_is_taken(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Exception] = [KeyError("a secret word"), PermissionError(13, "Permission denied", "/a/path")]

    async def obey(_order: Order) -> Told:
        if failures:
            raise failures.pop(0)
        return Told(good=True, text="done")

    monkeypatch.setattr("router.supervisor.orders.refusal", lambda _sock: "")
    orders = Orders(tmp_path, obey)
    orders.start()
    answers: list[Told] = []

    def ask_thrice() -> None:
        answers.extend(_ask(tmp_path) for _ in range(3))

    asking = threading.Thread(target=ask_thrice)
    asking.start()
    while asking.is_alive():
        await asyncio.sleep(0.01)
    orders.close()
    assert [one.good for one in answers] == [False, False, True]
    assert "KeyError at test_handing.py:" in answers[0].text
    assert "PermissionError (Permission denied) at test_handing.py:" in answers[1].text
    said = capfd.readouterr().err
    assert said.count('"event":"order_failed"') == 2
    assert "secret word" not in said + answers[0].text


async def test_a_narrowing_over_http_that_fails_unforeseen_is_answered() -> None:
    class Broken:
        async def narrow(self, *_: object) -> None:
            raise RuntimeError

    commander = Commander(cast("Reloader", Broken()), cast("Managed", None), Anchoring(lambda _: None))
    ask = msgspec.json.encode(NarrowAsk(caller="operator", without=("a",), reach="")).decode()
    answer = await commander.asked(Message(Word.NARROW, name="7", text=ask))
    assert (answer.word, answer.name) == (Word.NARROWED, "7")
    assert not msgspec.json.decode(answer.text, type=NarrowTold).good
