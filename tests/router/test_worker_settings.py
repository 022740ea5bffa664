"""What a worker takes over from new settings."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from router.descriptors import Descriptors
from router.settings.snapshot import Limits, Listen, Snapshot, TlsMaterial
from router.worker import __main__ as module
from router.worker.__main__ import Worker
from tests.router.certificates import Authority
from tests.router.house import snapshot_for


async def _no_server(*_: object) -> None:
    """Nothing is served here."""


@pytest.fixture
async def worker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    """In this process: neither sealed, nor serving, nor raising its limit of descriptors."""
    monkeypatch.setattr(module, "take_all", lambda: Descriptors(1000))
    monkeypatch.setattr(module, "settle_memory", lambda: None)
    monkeypatch.setattr(Worker, "_seal", lambda *_: True)
    monkeypatch.setattr(Worker, "_serve", _no_server)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with theirs, socket.socket() as listener:
        made = Worker(ours, listener, "worker-0")
        yield made
        made._control.close()


async def test_a_worker_that_cannot_use_its_settings_ends_and_is_sealed_once(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes in its place is given them anew."""
    seals: list[Snapshot] = []

    def sealed(_worker: Worker, snapshot: Snapshot) -> bool:
        seals.append(snapshot)
        return True

    monkeypatch.setattr(Worker, "_seal", sealed)
    unusable = replace(snapshot_for(1), listen=Listen(tls=True), front=TlsMaterial(certificate="none", key="none"))
    worker._take(unusable)
    assert worker._stopped.is_set()
    worker._take(unusable)
    assert len(seals) == 1
    assert worker._application is None


async def test_a_worker_that_is_not_sealed_ends(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "_seal", lambda *_: False)
    worker._take(snapshot_for(1))
    assert (worker._application, worker._stopped.is_set()) == (None, True)


async def test_a_pair_that_is_none_changes_nothing(worker: Worker, tmp_path: Path) -> None:
    pem = Authority.make(tmp_path).server().file.read_text()
    good = replace(snapshot_for(1), listen=Listen(tls=True), front=TlsMaterial(certificate=pem, key=pem))
    worker._take(good)
    serving, shown = worker._application, worker._front
    assert serving is not None
    worker._take(replace(good, front=TlsMaterial(certificate="none", key="none")))
    assert worker._stopped.is_set()
    assert (worker._application, worker._front) == (serving, shown)


async def test_connections_are_limited_before_the_handshake_too(worker: Worker) -> None:
    worker._take(replace(snapshot_for(1), limits=Limits(connections=7)))
    assert (worker._intake.most_connections, worker._handshakes.most_connections) == (7, 7)
    assert worker._handshakes.descriptors == Descriptors(1000)
