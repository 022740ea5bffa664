"""What a child says to its supervisor need not be what we would say: it may be taken over."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from router.channel.control import Control, Message, Word
from router.logs import Log
from router.seal.attestation import Attestation
from router.seal.profiles import Profile
from router.settings.snapshot import Listen
from router.supervisor.child import Child, Program, Watcher
from router.supervisor.tree import Tree
from tests.router.house import snapshot_for

NO_MESSAGES = [
    b"{",
    b'{"word":"pong","text":"\xff"}',
    b"\xff\xfe",
    b"[]",
    b'{"word":"obey"}',
    b'{"word":"ping","rows":[1]}',
    b'{"word":' + b"[" * 60_000,
]
SAYS = """
import socket, sys
control = socket.socket(fileno=int(sys.argv[1]))
socket.send_fds(control, [sys.argv[2].encode()], [0, 1, 2])
control.recv(65536)  # what it is told, or that nobody listens
control.recv(65536) if sys.argv[3] == "stays" else None
"""


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("data", NO_MESSAGES, ids=lambda data: repr(data[:20]))
async def test_who_sends_no_message_is_not_listened_to(data: bytes) -> None:
    lost = asyncio.Event()
    heard: list[Message] = []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        control = Control(ours, lambda message, _: heard.append(message), lost.set)
        before = descriptors()
        socket.send_fds(theirs, [msgspec.json.encode(Message(Word.PONG))], [])
        socket.send_fds(theirs, [data], [0, 1])
        async with asyncio.timeout(5):
            await lost.wait()
        assert [message.word for message in heard] == [Word.PONG]
        assert control.fileno() == -1
        assert descriptors() == before - 1  # its own: nothing that it was given is left
        assert theirs.recv(1) == b""


@pytest.mark.parametrize("word", [Word.SETTINGS, Word.CHANNEL])
async def test_a_message_whose_descriptor_is_lost_is_none(word: Word) -> None:
    """The kernel drops what the receiver has no room for (EMFILE): nothing would be taken, and nobody would know."""
    lost = asyncio.Event()
    heard: list[Message] = []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        control = Control(ours, lambda message, _: heard.append(message), lost.set)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        theirs.setblocking(False)
        socket.send_fds(theirs, [msgspec.json.encode(Message(word))], [0])
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            control._readable()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (heard, lost.is_set(), control.fileno()) == ([], True, -1)


def child(says: bytes, events: list[str], *, stays: bool = False) -> Child:
    def command(control: int) -> list[str]:
        return [sys.executable, "-I", "-c", SAYS, str(control), says.decode(), "stays" if stays else "goes"]

    watcher = Watcher(
        started=lambda _: events.append("started"),
        ready=lambda *_: events.append("ready"),
        sealed=lambda _: events.append("sealed"),
        changed=lambda: None,
        alive=lambda *_: None,
        lost=lambda _: None,
        asked=lambda _, message: _read(message.text, events),
        fatal=events.append,
    )
    return Child(Program("worker-0", command), {"PATH": os.environ["PATH"]}, Log("supervisor"), watcher)  # noqa: TID251 - for the interpreter


def _read(text: str, events: list[str]) -> None:
    msgspec.json.decode(text)
    events.append("demands")


@pytest.mark.parametrize(
    "says",
    [
        msgspec.json.encode(Message(Word.SEALED, text="none")),
        msgspec.json.encode(Message(Word.SEALED, text='{"seal":1}')),
        msgspec.json.encode(Message(Word.SEALED, text="[]")),
        msgspec.json.encode(Message(Word.SEALED, text='{"level":' + "[" * 60_000)),
        msgspec.json.encode(Message(Word.DEMANDS, text="{")),
        b"no message at all",
    ],
)
async def test_a_child_that_talks_nonsense_is_started_again(says: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    events: list[str] = []
    nonsense = child(says, events, stays=says.startswith(b"{"))
    running = asyncio.create_task(nonsense.run())
    await until(lambda: events.count("started") >= 2)
    nonsense.stop()
    nonsense.kill()
    await running
    assert ("process_garbled" in capfd.readouterr().err) is says.startswith(b"{")


async def test_what_a_child_hands_over_is_closed() -> None:
    events: list[str] = []
    generous = child(msgspec.json.encode(Message(Word.READY, text="digest")), events, stays=True)
    running = asyncio.create_task(generous.run())
    await until(lambda: "started" in events)
    before = descriptors()
    await until(lambda: "ready" in events)
    assert descriptors() <= before
    generous.stop()
    generous.kill()
    await running


async def test_a_child_that_cannot_be_started_for_want_of_descriptors_is_tried_again(
    capfd: pytest.CaptureFixture[str],
) -> None:
    events: list[str] = []
    one = child(msgspec.json.encode(Message(Word.PONG)), events, stays=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        running = asyncio.create_task(one.run())
        await until(lambda: one.restarts >= 2)
        assert events.count("started") == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await until(lambda: "started" in events)
    one.stop()
    one.kill()
    await running
    assert '"event":"process_not_started","state":"worker-0","reason":"Too many open files"' in capfd.readouterr().err


ANSWERS = """
import socket, sys
control = socket.socket(fileno=int(sys.argv[1]))
while control.recv(65536):
    control.send(b'{"word":"pong"}')
"""
SILENT = "import signal; signal.pause()"


@pytest.mark.parametrize("program", [ANSWERS, SILENT])
async def test_silence_is_not_counted_while_we_stand_still_ourselves(
    program: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("router.supervisor.child.PING_EVERY_S", 0.05)
    monkeypatch.setattr("router.supervisor.child.SILENT_TOO_LONG_S", 2.0)
    events: list[str] = []
    made = child(b"", events)
    made.program = replace(made.program, command=lambda control: [sys.executable, "-I", "-c", program, str(control)])
    running = asyncio.create_task(made.run())
    await until(lambda: "started" in events)
    await asyncio.sleep(0.3)
    time.sleep(2.5)  # in the loop: that is the point
    await asyncio.sleep(0.3)
    assert events == ["started"]
    if program is SILENT:
        await until(lambda: len(events) > 1)
    made.stop()
    made.kill()
    await running
    assert ("process_silent" in capfd.readouterr().err) is (program is SILENT)


SAYS_ALL = """
import socket, sys
control = socket.socket(fileno=int(sys.argv[1]))
for said in sys.argv[2:]:
    control.send(said.encode())
control.recv(65536)
control.recv(65536)
"""
SEAL = Message(Word.SEALED, text=Attestation(Profile.WORKER, 1, "", "", 0).to_json())


@pytest.mark.parametrize(
    ("says", "heard"),
    [
        ([SEAL, SEAL], ["sealed"]),
        ([SEAL, Message(Word.READY, text="digest"), SEAL], ["sealed", "ready"]),
        ([Message(Word.READY, text="digest"), Message(Word.FATAL, text="I am tired")], ["ready"]),
    ],
    ids=["two seals", "a seal while it serves", "fatal while it serves"],
)
async def test_a_child_that_serves_can_neither_fill_the_ledger_with_seals_nor_end_the_service(
    says: list[Message], heard: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    events: list[str] = []
    one = child(b"", events)
    texts = [msgspec.json.encode(message).decode() for message in says]
    one.program = replace(one.program, command=lambda to: [sys.executable, "-I", "-c", SAYS_ALL, str(to), *texts])
    running = asyncio.create_task(one.run())
    await until(lambda: events.count("started") >= 2)
    one.stop()
    one.kill()
    await running
    assert events[: len(heard) + 2] == ["started", *heard, "started"]
    assert "process_garbled" in capfd.readouterr().err


def test_programs_are_started_and_stopped_by_the_gates_word_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tree = Tree(replace(snapshot_for(1), listen=Listen(workers=1)), listener, tmp_path, {})
        demands = Message(Word.DEMANDS, text='{"number":1,"programs":{}}')
        tree._on_asked(tree._gate, demands)
        for word in (Word.DEMANDS, Word.ANCHORED):
            with pytest.raises(ValueError, match="only the gate"):
                tree._on_asked(tree._workers[0], replace(demands, word=word))
