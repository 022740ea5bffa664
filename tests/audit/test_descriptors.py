"""Want of descriptors, ours or the machine's: nothing has reached the disk, so the ledger goes on when it is over."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from router.audit import Kind, Ledger, LedgerError, LedgerUnavailable
from router.audit.journal import Journal
from router.audit.writer import SHORT
from router.gate.recorder import Recorder
from tests.audit.ledgers import DECISION, WAIT_S, build, check, codes, exchange, settings

POLICY = {"digest": "0" * 16}


class Shortage:
    """While it lasts, no file is opened; `code` is the reason."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        self.lasts = False
        self.met = threading.Event()
        real = os.open

        def opened(*how: Any, **also: Any) -> int:
            if self.lasts:
                self.met.set()
                raise OSError(code, os.strerror(code))
            return real(*how, **also)

        monkeypatch.setattr(os, "open", opened)


def wait_for(ledger: Ledger, refusal: str | None) -> None:
    """Until the ledger says so."""
    for _ in range(3000):
        if ledger.failure == refusal:
            return
        threading.Event().wait(0.01)
    assert ledger.failure == refusal


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
@pytest.mark.parametrize("segment_bytes", [1, 1 << 20], ids=["a segment", "the checkpoint file"])
def test_it_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, segment_bytes: int) -> None:
    ledger = Ledger.open(settings(tmp_path, segment_bytes=segment_bytes, checkpoint_pause_s=0.01))
    heard: list[str | None] = []
    ledger.on_durable(lambda _: heard.append(ledger.failure))
    under_way = ledger.append(Kind.DECISION, DECISION)
    under_way.wait(WAIT_S)
    shortage = Shortage(monkeypatch, code)
    shortage.lasts = True
    for _ in range(6):  # up to a checkpoint
        ledger.append(Kind.POLICY, POLICY)
    wait_for(ledger, SHORT)
    assert shortage.met.is_set()
    with pytest.raises(LedgerUnavailable, match="too many files are open"):
        ledger.append(Kind.DECISION, DECISION)
    outcome = ledger.append(Kind.OUTCOME, {"decision": under_way.index, "ending": "completed"})
    shortage.lasts = False
    outcome.wait(WAIT_S)
    wait_for(ledger, None)
    exchange(ledger)
    assert SHORT in heard
    assert heard[-1] is None
    ledger.close()
    assert ledger._writer.failed is None
    assert codes(check(tmp_path)) == []


@pytest.mark.parametrize("segment_bytes", [1, 1 << 20], ids=["a segment", "the checkpoint file"])
def test_a_ledger_that_is_closed_waits_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segment_bytes: int
) -> None:
    ledger = Ledger.open(settings(tmp_path, segment_bytes=segment_bytes))
    shortage = Shortage(monkeypatch, errno.EMFILE)
    shortage.lasts = True
    for _ in range(6):
        ledger.append(Kind.POLICY, POLICY)
    shortage.met.wait(WAIT_S)
    ledger.close()
    shortage.lasts = False
    assert "Too many open files" in str(ledger._writer.failed)
    Ledger.open(settings(tmp_path)).close()  # and the next start goes on
    assert check(tmp_path).exit_code() == 0


def test_at_the_start_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path)
    monkeypatch.setattr("router.audit.ledger._OPENING_S", 0.05)

    def short(*_: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Journal, "begin", short)
    with pytest.raises(LedgerError, match="cannot be written"):
        Ledger.open(settings(tmp_path, segment_bytes=1))


def test_an_error_of_the_disk_does_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.open(settings(tmp_path))
    shortage = Shortage(monkeypatch, errno.EIO)
    shortage.lasts = True
    for _ in range(6):
        ledger.append(Kind.POLICY, POLICY)
    for _ in range(3000):
        if ledger._writer.failed:
            break
        threading.Event().wait(0.01)
    shortage.lasts = False
    assert str(ledger.failure).startswith("the ledger stopped: Input/output error")
    ledger.close()


def test_what_is_worse_stays(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))
    ledger._inbox.refuse("the disk is full", [Kind.DECISION])
    assert not ledger._inbox.resume(SHORT)
    assert ledger.failure == "the disk is full"
    ledger.close()


def test_the_gate_hears_of_it_and_that_it_has_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    async def hears(count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(heard) < count:
                await asyncio.sleep(0.01)

    async def run() -> None:
        ledger = Ledger.open(settings(tmp_path, checkpoint_pause_s=0.01))
        recorder = Recorder(ledger, heard.append)
        shortage = Shortage(monkeypatch, errno.EMFILE)
        shortage.lasts = True
        for _ in range(6):
            recorder.append(Kind.POLICY, POLICY)
        await hears(1)
        assert recorder.refusal == SHORT
        shortage.lasts = False
        await hears(2)
        assert recorder.refusal == ""
        recorder.close()

    asyncio.run(run())
    assert heard == [SHORT, ""]


def test_a_batch_does_not_answer_for_a_digest_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are written while the day's key cannot be: that refusal passes with the key alone."""
    heard: list[str] = []

    async def run() -> None:
        recorder = Recorder(Ledger.open(settings(tmp_path)), heard.append)
        shortage = Shortage(monkeypatch, errno.EMFILE)
        shortage.lasts = True
        with pytest.raises(LedgerUnavailable, match="digest key"):
            recorder.digests("alice", (b"text",))
        await recorder.record(Kind.POLICY, POLICY)
        assert "digest key" in recorder.refusal
        shortage.lasts = False
        recorder.digests("alice", (b"text",))
        assert recorder.refusal == ""
        recorder.close()

    asyncio.run(run())
