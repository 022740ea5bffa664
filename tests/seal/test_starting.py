"""Workers and gates as the supervisor starts them, one message at a time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from router.channel.control import LARGEST, Message, Word, memory_file
from router.seal.attestation import Attestation
from router.seal.process import CAP_DAC_OVERRIDE
from router.settings.codec import encode
from router.settings.snapshot import AuditSettings, Snapshot
from tests.router.house import snapshot_for
from tests.seal.experiments import NOBODY, ROOT, run


@dataclass
class Started:
    process: subprocess.Popen[bytes]
    control: socket.socket

    def give(self, snapshot: Snapshot) -> None:
        descriptor = memory_file(encode(snapshot))
        socket.send_fds(self.control, [msgspec.json.encode(Message(Word.SETTINGS))], [descriptor])
        os.close(descriptor)

    def hear(self) -> Message:
        return msgspec.json.decode(self.control.recv(LARGEST), type=Message)


@contextmanager
def started(program: str, *arguments: str, inherit: tuple[int, ...] = ()) -> Iterator[Started]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(30)
    with ours, theirs:
        command = [sys.executable, "-I", "-m", program, "--control", str(theirs.fileno()), *arguments]
        with subprocess.Popen(command, pass_fds=(theirs.fileno(), *inherit)) as process:
            theirs.close()
            yield Started(process, ours)
            with suppress(OSError):
                ours.send(msgspec.json.encode(Message(Word.DRAIN)))
            process.wait(30)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def test_a_worker_tells_its_seal_and_then_that_it_serves(listener: socket.socket) -> None:
    with started("router.worker", "--listen", str(listener.fileno()), inherit=(listener.fileno(),)) as worker:
        worker.give(snapshot_for(1))
        sealed, ready = worker.hear(), worker.hear()
    assert (sealed.word, ready.word) == (Word.SEALED, Word.READY)
    assert Attestation.from_json(sealed.text).pid == worker.process.pid


def test_a_worker_that_holds_a_strange_socket_does_not_serve(listener: socket.socket) -> None:
    with socket.socket() as strange:
        held = (listener.fileno(), strange.fileno())
        with started("router.worker", "--listen", str(listener.fileno()), inherit=held) as worker:
            worker.give(snapshot_for(1))
            said = worker.hear()
    assert said.word is Word.FATAL
    assert said.text == (f"the worker is not sealed: descriptor {held[1]} is a socket (AF_INET) that nobody announced")
    assert worker.process.returncode == 0  # it has said why; the supervisor stops the service


def snapshot_in(ledger: Path) -> Snapshot:
    return replace(snapshot_for(1), audit=AuditSettings(str(ledger)))


def test_a_gate_that_holds_a_strange_socket_writes_no_ledger(tmp_path: Path) -> None:
    with socket.socket() as strange:
        with started("router.gate", "--engines", str(tmp_path), inherit=(strange.fileno(),)) as gate:
            gate.give(snapshot_in(tmp_path / "ledger"))
            assert gate.hear().word is Word.FATAL
    assert list((tmp_path / "ledger").iterdir()) == []


def test_a_ledger_that_cannot_be_made_is_said_in_the_kernels_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with started("router.gate", "--engines", str(tmp_path)) as gate:
        gate.give(snapshot_in(tmp_path / "file" / "ledger"))
        said = gate.hear()
    assert (said.word, said.text) == (
        Word.FATAL, f"the ledger directory {tmp_path}/file/ledger cannot be used: Not a directory",
    )  # fmt: skip


@pytest.mark.skipif(not ROOT, reason="only root has powers to keep")
@pytest.mark.parametrize(("owner", "kept"), [(0, 0), (NOBODY, 1 << CAP_DAC_OVERRIDE)])
def test_a_gate_of_root_keeps_its_way_past_file_modes_only_for_a_foreign_ledger(
    tmp_path: Path, owner: int, kept: int
) -> None:
    ledger = tmp_path / "ledger"
    ledger.mkdir(mode=0o700)
    os.chown(ledger, owner, owner)
    with started("router.gate", "--engines", str(tmp_path)) as gate:
        gate.give(snapshot_in(ledger))
        sealed, ready = gate.hear(), gate.hear()
    assert Attestation.from_json(sealed.text).capabilities == kept
    assert ready.word is Word.READY, ready


def test_an_ordinary_users_network_is_empty_too() -> None:
    """By a user namespace, in which user and group keep their numbers."""
    found = run("network_by_user_namespace")
    if found[0]:
        pytest.skip(f"this machine allows no user namespaces: {found[0]}")
    assert found == ["", [], os.geteuid(), os.getegid()]
