"""Failures of the disk, of keys and of our own: after one, nothing is acknowledged any more."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from router.audit import Durability, Kind, Ledger, LedgerError, LedgerUnavailable
from router.audit import home as home_module
from router.audit.format import layout
from router.audit.format.seal import ReviewerSecret
from router.audit.format.tiles import TileStack
from router.audit.inbox import Inbox
from router.audit.journal import Journal
from router.audit.scribe import Place, Scribe
from router.audit.verify.keys import Keys
from router.audit.writer import Writer
from tests.audit.ledgers import (
    DECISION,
    DENIAL,
    WAIT_S,
    build,
    check,
    codes,
    exchange,
    fields,
    reviewer,
    settings,
    vkey,
)


@pytest.mark.parametrize("call", ["fdatasync", "write"])
def test_any_error_of_the_disk_stops_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    ledger = Ledger.open(settings(tmp_path, durability=Durability.STRICT))
    done: list[LedgerUnavailable | None] = []
    heard: list[int] = []
    ledger.on_durable(heard.append)

    def broken(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, broken)
    ticket = ledger.append(Kind.DENIAL, DENIAL)
    ticket.add_done_callback(done.append)
    with pytest.raises(LedgerUnavailable, match="the ledger stopped: Input/output error"):
        ticket.wait(WAIT_S)
    monkeypatch.undo()
    with pytest.raises(LedgerUnavailable, match="Input/output"):
        ledger.append(Kind.DENIAL, DENIAL)
    ticket.add_done_callback(done.append)
    ledger.close()
    assert [str(error) for error in done] == [ledger.failure] * 2
    assert heard == [ticket.index - 1]
    assert fields(tmp_path)[-1]["kind"] != "stop"
    Ledger.open(settings(tmp_path)).close()  # the next process goes on


def test_a_fault_of_our_own_stops_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.open(settings(tmp_path))
    monkeypatch.setattr("router.audit.scribe.write", lambda *_: 1 / 0)
    with pytest.raises(LedgerUnavailable, match="ZeroDivisionError"):
        ledger.append(Kind.DENIAL, DENIAL).wait(WAIT_S)
    with pytest.raises(LedgerUnavailable, match="ZeroDivisionError"):
        ledger.note(Kind.DENIAL, DENIAL)
    ledger.close()
    assert ledger.failure == "the ledger stopped: ZeroDivisionError; records after 1 may be lost"


def test_a_wait_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.open(settings(tmp_path))
    gate = threading.Event()
    monkeypatch.setattr(Journal, "write", lambda *_: gate.wait(WAIT_S) and None)
    ticket = ledger.append(Kind.DENIAL, DENIAL)
    with pytest.raises(LedgerUnavailable, match=r"not durable within 0.01 s"):
        ticket.wait(0.01)
    monkeypatch.undo()
    gate.set()
    ledger.close()


def cut(directory: Path) -> None:
    segment = next((directory / layout.SEGMENTS).iterdir())
    os.truncate(segment, segment.stat().st_size - 10)


def replace_file(directory: Path) -> None:
    segment = next((directory / layout.SEGMENTS).iterdir())
    data = segment.read_bytes()
    segment.unlink()
    segment.write_bytes(data)


@pytest.mark.parametrize("attack", [cut, replace_file])
def test_a_segment_changed_under_the_running_writer_stops_it(tmp_path: Path, attack: Any) -> None:
    """CVE-2023-31438 of journald: truncate, then let the daemon go on sealing."""
    ledger = Ledger.open(settings(tmp_path))
    exchange(ledger)
    attack(tmp_path)
    with pytest.raises(LedgerUnavailable, match=r"the segment has .* bytes .* where we wrote"):
        ledger.append(Kind.DENIAL, DENIAL).wait(WAIT_S)
    ledger.close()


def test_a_full_disk_refuses_new_work_and_records_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.open(settings(tmp_path))
    under_way = ledger.append(Kind.DECISION, DECISION)
    under_way.wait(WAIT_S)
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if (tmp_path / layout.RESERVE).exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    ledger.append(Kind.DENIAL, DENIAL).wait(WAIT_S)
    with pytest.raises(LedgerUnavailable, match="the disk is full"):
        ledger.append(Kind.DECISION, DECISION)
    ledger.append(Kind.OUTCOME, {"decision": under_way.index, "ending": "completed"}).wait(WAIT_S)
    assert ledger.failure is not None
    ledger.close()
    assert codes(check(tmp_path)) == []
    monkeypatch.undo()
    again = Ledger.open(settings(tmp_path))
    assert again.failure is None
    assert (tmp_path / layout.RESERVE).stat().st_size == 4096
    again.close()


def test_silence_on_a_full_disk_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats are refused then, too; the ledger must still take the outcomes of what is under way."""
    ledger = Ledger.open(settings(tmp_path, heartbeat_s=0.02, checkpoint_idle_s=0.01, checkpoint_pause_s=0.01))
    under_way = ledger.append(Kind.DECISION, DECISION)
    under_way.wait(WAIT_S)
    looked: list[float] = []
    real = Writer._keep_time

    def looks(writer: Writer, now: float) -> None:
        due = now - writer._last_record_s >= 0.02
        real(writer, now)
        if due and writer._inbox.refusal is not None:
            looked.append(now)

    monkeypatch.setattr(Writer, "_keep_time", looks)
    ledger._inbox.refuse("the disk is full", [Kind.HEARTBEAT, Kind.DECISION])
    for _ in range(2000):
        if len(looked) >= 3:
            break
        threading.Event().wait(0.01)
    assert len(looked) >= 3, "the time of a heartbeat came"
    ledger.append(Kind.OUTCOME, {"decision": under_way.index, "ending": "completed"}).wait(WAIT_S)
    ledger.close()


def test_a_full_disk_does_not_open_a_closed_ledger_again(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))
    ledger.close()
    ledger._inbox.refuse("the disk is full", [Kind.DECISION])
    with pytest.raises(LedgerUnavailable, match="the ledger is closed"):
        ledger.append(Kind.DENIAL, DENIAL)


def test_a_heartbeat_at_the_last_moment_costs_no_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger is closed after the writer looked whether it may beat."""
    ledger = Ledger.open(settings(tmp_path, heartbeat_s=0.02, checkpoint_idle_s=0.01))
    real, closers = Inbox.append, list[threading.Thread]()

    def late(inbox: Inbox, kind: Kind, body: bytes, decision: int = -1, **how: bool) -> int:
        if kind is Kind.HEARTBEAT and not closers:
            closer = threading.Thread(target=ledger.close)
            closer.start()
            closers.append(closer)
            while not inbox._closed:
                closer.join(0.001)
        return real(inbox, kind, body, decision, **how)

    monkeypatch.setattr(Inbox, "append", late)
    for _ in range(1000):
        if closers:
            break
        threading.Event().wait(0.02)
    closers[0].join(WAIT_S)
    assert ledger._writer.failed is None
    assert [record["kind"] for record in fields(tmp_path)][-2:] == ["stop", "checkpoint"]
    assert codes(check(tmp_path)) == []


def test_a_tile_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))
    (tmp_path / layout.TILES).write_text("in the way")
    for _ in range(150):
        exchange(ledger)
    ledger.close()
    (tmp_path / layout.TILES).unlink()
    Ledger.open(settings(tmp_path)).close()
    assert codes(check(tmp_path)) == []


def test_a_disk_that_is_full_at_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path)

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(LedgerError, match="cannot be written: No space left"):
        Ledger.open(settings(tmp_path))
    monkeypatch.undo()
    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(LedgerError, match="cannot be written: the ledger stopped: No space left"):
        Ledger.open(settings(tmp_path, durability=Durability.STRICT))
    monkeypatch.undo()
    Ledger.open(settings(tmp_path)).close()


@pytest.mark.parametrize("name", [layout.SIGNING_KEY, layout.REVIEWER_PUBLIC, layout.VKEY])
def test_a_key_that_is_gone_or_strange_is_named(tmp_path: Path, name: str) -> None:
    build(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(LedgerError, match=r"the keys in .* cannot be used"):
        Ledger.open(settings(tmp_path))
    (tmp_path / name).unlink()
    with pytest.raises(LedgerError, match=r"cannot be used|holds records but no log.vkey"):
        Ledger.open(settings(tmp_path))
    (tmp_path / name).write_bytes(whole)
    Ledger.open(settings(tmp_path)).close()


def test_another_logs_signing_key_is_refused(tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / layout.SIGNING_KEY).write_bytes(bytes(32))
    with pytest.raises(LedgerError, match=r"is not the key that log.vkey states"):
        Ledger.open(settings(tmp_path))


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot be used: Not a directory"):
        Ledger.open(settings(tmp_path / "file" / "ledger"))


def test_a_lost_reviewers_key_is_replaced_by_a_new_one(tmp_path: Path) -> None:
    """The operator puts another public key in and restarts: each reviewer opens the epochs that were sealed to them."""
    build(tmp_path)
    old = reviewer(tmp_path)
    (tmp_path / layout.REVIEWER_SECRET).unlink()
    new = ReviewerSecret.generate()
    (tmp_path / layout.REVIEWER_PUBLIC).write_text(new.public.text() + "\n")
    build(tmp_path)
    assert [r["body"]["reviewer"] for r in fields(tmp_path) if r["kind"] == "key_epoch"] == [
        old.public.id,
        new.public.id,
    ]
    half = len(fields(tmp_path)) // 2
    for secret in (old, new):
        report = check(tmp_path, Keys(vkey(tmp_path), pinned=True, reviewer=secret))
        assert report.exit_code() == 0
        assert report.exit_code(strict=True) == 2
        assert report.checks["MACs"].startswith(f"{half} checked")


def test_the_first_record_of_a_process_is_a_key(tmp_path: Path) -> None:
    home = home_module.open_home(tmp_path, "ringfence")
    scribe = Scribe(home, Place(), TileStack())
    with pytest.raises(AssertionError, match="begins an epoch"):
        scribe.line(0, (0, 0), Kind.HEARTBEAT, b"{}")
    home.close()


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    """Without a writer."""
    home = home_module.open_home(tmp_path, "ringfence")
    yield Inbox(Scribe(home, Place(), TileStack()), (), checkpoint_every=6, linger_s=0.0)
    home.close()


def test_a_closed_inbox_is_asked_in_vain(inbox: Inbox) -> None:
    inbox.checkpoint()
    assert inbox.take().lines == []  # nothing to cover
    inbox.fail("broken")
    inbox.begin_epoch()
    inbox.checkpoint()
    inbox.close(b"{}")
    assert inbox.take().lines == []
    assert inbox.refusal == "broken"
    assert inbox.wait(60.0)  # at once: there is nothing to wait for


def test_a_bell_that_rings_too_late_wakes_nobody_for_nothing(inbox: Inbox) -> None:
    inbox.begin_epoch()
    inbox.take()
    assert not inbox.wait(0.0)
    inbox._bell.release()  # as by a call that came just as the sleep had ended
    assert not inbox.wait(0.01)


def test_a_fault_at_the_last_words_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.open(settings(tmp_path))
    monkeypatch.setattr("router.audit.scribe.write", lambda *_: 1 / 0)
    ledger.close()
    monkeypatch.undo()
    assert ledger.failure == "the ledger stopped: ZeroDivisionError; records after 1 may be lost"
    assert fields(tmp_path)[-1]["kind"] == "start"
    build(tmp_path)
    assert codes(check(tmp_path)) == []


def test_a_small_file_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "checkpoint"
    home_module.write_new(target, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "x")))
    with pytest.raises(OSError, match="x"):
        home_module.write_new(target, b"new")
    assert target.read_bytes() == b"old"
