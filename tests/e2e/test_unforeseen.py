"""What nobody thought of, in real processes: it is said where an operator looks, and the service goes on or ends."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from router.channel.control import LARGEST, Message, Word, memory_file
from router.cli.border import CANNOT
from router.settings.codec import encode
from router.settings.snapshot import AuditSettings
from tests.e2e.conversations import CHAT, chat, policy, wait_until_ready
from tests.fakes.running import Fake
from tests.router.house import snapshot_for
from tests.service import RINGFENCE, Service, environment, events, read_ledger, ringfence, running, until


def test_an_operator_who_finds_no_descriptor_waits_and_that_is_said_once(fake: Fake, tmp_path: Path) -> None:
    """Asyncio's own server wrote a hundred lines at once, and again each second."""
    with running(tmp_path, policy(fake)) as service:
        wait_until_ready(service)
        pid = service.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
        with subprocess.Popen(
            [RINGFENCE, "reload", "--config", "policy.yaml"], cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL
        ) as asking:
            until(lambda: events(service.log(), "orders_wait"), 20, "said that it waits")
            time.sleep(1.5)  # three more looks
            assert service.post(CHAT, chat()).status_code == 200
            assert asking.poll() is None
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            assert asking.wait(30) == 0
        [waits] = events(service.log(), "orders_wait")
        assert waits["reason"].endswith("Too many open files")
        assert len(events(service.log(), "orders_taken_again")) == 1
        assert not events(service.log(), "library_warning") + events(service.log(), "internal_error")


def test_a_terminal_that_left_keeps_no_reload_from_its_record(fake: Fake, tmp_path: Path) -> None:
    """What it could not be told was not recorded either."""
    (tmp_path / "policy.yaml").write_text(policy(fake))
    reading, writing = os.pipe()
    os.close(reading)
    with (tmp_path / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [RINGFENCE, "serve", "--config", "policy.yaml", "--port", "0"], cwd=tmp_path, env=environment(),
            stdin=subprocess.DEVNULL, stdout=writing, stderr=log, start_new_session=True,
        )  # fmt: skip
    os.close(writing)
    service = Service(process, tmp_path)
    try:
        until(lambda: '"state":"ready"' in service.log(), 30, service.log())
        (tmp_path / "policy.yaml").write_text("version: 2\n")
        assert ringfence(tmp_path, "reload", "--ledger", "ledger").returncode == 1
        until(lambda: [row["body"]["result"] for row in service.records("reload")] == ["refused"], 20, "recorded")
        assert not events(service.log(), "internal_error") + events(service.log(), "order_failed")
    finally:
        service.client.close()
        assert service.stop() == CANNOT  # it could not say what it had to: see router.cli.border
    assert "Traceback" not in service.log()


class Parent:
    """In the supervisor's place, of one process: what it says and what it logs."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, log: Path) -> None:
        self.process = process
        self._control = control
        self._log = log

    def log(self) -> str:
        return self._log.read_text()

    def give(self, settings: bytes, actor: str = "test") -> None:
        descriptor = memory_file(settings)
        said = msgspec.json.encode(Message(Word.SETTINGS, name=actor))
        socket.send_fds(self._control, [said], [descriptor])
        os.close(descriptor)

    def say(self, word: Word) -> None:
        self._control.send(msgspec.json.encode(Message(word)))

    def hears(self, word: Word) -> Message:
        """What it says next of this."""
        while True:
            data = self._control.recv(LARGEST)
            assert data, self.log()
            message = msgspec.json.decode(data, type=Message)
            if message.word is word:
                return message


@contextmanager
def process_of(directory: Path, module: str, *arguments: str, inherit: tuple[int, ...] = ()) -> Iterator[Parent]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(30)
    log = directory / "process.log"
    with ours, theirs, log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", module, "--control", str(theirs.fileno()), *arguments], cwd=directory,
            env=environment(), stdin=subprocess.DEVNULL, stderr=written, pass_fds=(theirs.fileno(), *inherit),
        )  # fmt: skip
        try:
            theirs.close()
            yield Parent(process, ours, log)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.mark.parametrize("module", ["router.gate", "router.worker"])
def test_a_process_that_cannot_begin_by_its_settings_says_so_and_ends(module: str, tmp_path: Path) -> None:
    """It stayed, answered every ping, and served nobody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = ("--engines", str(tmp_path)) if module == "router.gate" else ("--listen", str(listener.fileno()))
        with process_of(tmp_path, module, *place, inherit=(listener.fileno(),)) as parent:
            parent.give(b"no settings")
            parent.process.wait(30)
            [said] = events(parent.log(), "settings_refused")
    assert said["reason"].startswith("ValidationError at codec.py:")
    assert "Traceback" not in parent.log()


def test_a_gate_that_cannot_take_new_settings_keeps_the_old_ones_and_records_it(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    snapshot = replace(snapshot_for(1), audit=AuditSettings(directory=str(ledger)))
    with process_of(tmp_path, "router.gate", "--engines", str(tmp_path)) as parent:
        parent.give(encode(snapshot))
        assert parent.hears(Word.READY).text == snapshot.policy.digest
        parent.give(b"no settings", "SIGHUP")
        parent.say(Word.PING)
        parent.hears(Word.PONG)
        parent.say(Word.DRAIN)
        assert parent.process.wait(30) == 0
        [said] = events(parent.log(), "reload_refused")
    [record] = read_ledger(ledger, "reload")
    assert (record["body"]["result"], record["body"]["actor"]) == ("refused", "SIGHUP")
    assert record["body"]["reason"] == said["reason"]
