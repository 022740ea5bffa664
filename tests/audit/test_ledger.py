"""Stories of the writer: order, durability, callbacks, endings, failures; with real files and a real thread."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from router.audit import Durability, Kind, Ledger, LedgerError, LedgerFieldError, LedgerUnavailable
from router.audit.format import layout
from router.audit.format.seal import ReviewerSecret
from router.audit.journal import Journal
from tests.audit.ledgers import (
    DECISION,
    DENIAL,
    WAIT_S,
    build,
    check,
    codes,
    exchange,
    fields,
    kinds,
    settings,
)


def test_a_first_start_needs_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "ledger"
    ledger = Ledger.open(settings(directory))
    assert ledger.reviewer_is_local
    assert ledger.failure is None
    ledger.close()
    assert kinds(directory) == ["key_epoch", "start", "stop", "checkpoint"]
    start = fields(directory)[1]["body"]
    assert start["previous"] == "first"
    assert start["reviewer"] == "on_this_machine"
    assert start["pid"] == os.getpid()
    assert start["durability"] == "async"


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    build(tmp_path / "ledger", exchanges=200)
    for path in [tmp_path / "ledger", *(tmp_path / "ledger").rglob("*")]:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_a_reviewer_who_gave_a_public_key_holds_the_secret_alone(tmp_path: Path) -> None:
    secret = ReviewerSecret.generate()
    (tmp_path / layout.REVIEWER_PUBLIC).write_text(secret.public.text() + "\n")
    ledger = Ledger.open(settings(tmp_path))
    assert not ledger.reviewer_is_local
    ledger.close()
    assert not (tmp_path / layout.REVIEWER_SECRET).exists()
    assert fields(tmp_path)[1]["body"]["reviewer"] == "offline"


@pytest.mark.parametrize("durability", list(Durability))
def test_indexes_are_given_in_order_and_become_durable(tmp_path: Path, durability: Durability) -> None:
    ledger = Ledger.open(settings(tmp_path, durability=durability))
    tickets = [ledger.append(Kind.DECISION, DECISION) for _ in range(20)]
    assert [ticket.index for ticket in tickets] == sorted({ticket.index for ticket in tickets})
    tickets[-1].wait(WAIT_S)
    on_disk = {record["i"] for record in fields(tmp_path)}
    assert {ticket.index for ticket in tickets} <= on_disk
    for ticket in tickets:
        ledger.append(Kind.OUTCOME, {"decision": ticket.index, "ending": "completed"})
    ledger.close()
    assert codes(check(tmp_path)) == []


def test_many_threads_append_and_nothing_is_lost(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path, durability=Durability.STRICT, checkpoint_every=50))
    threads = [threading.Thread(target=lambda: [exchange(ledger) for _ in range(25)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.close()
    assert kinds(tmp_path).count("decision") == kinds(tmp_path).count("outcome") == 200
    assert codes(check(tmp_path)) == []


def test_listeners_and_callbacks_hear_of_durability(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))
    heard: list[int] = []
    done: list[LedgerUnavailable | None] = []
    ledger.on_durable(heard.append)
    ticket = ledger.append(Kind.DENIAL, DENIAL)
    ticket.add_done_callback(done.append)
    ticket.wait(WAIT_S)
    ledger.append(Kind.DENIAL, DENIAL).wait(WAIT_S)
    ticket.add_done_callback(done.append)  # already durable: at once
    ledger.close()
    assert done == [None, None]
    assert heard == sorted(heard)
    assert heard[-1] == fields(tmp_path)[-1]["i"]


def test_a_listener_whose_loop_has_closed_does_no_harm(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))

    def closed(_: int) -> None:
        raise RuntimeError("Event loop is closed")

    ledger.on_durable(closed)
    ledger.append(Kind.DENIAL, DENIAL).wait(WAIT_S)
    ledger.close()
    assert ledger.failure == "the ledger is closed"


def test_an_outcome_needs_its_open_decision(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))
    index = exchange(ledger)
    for wrong in (index, 999):
        with pytest.raises(LedgerFieldError, match="is not an open decision"):
            ledger.append(Kind.OUTCOME, {"decision": wrong, "ending": "completed"})
    ledger.close()


def test_after_close_nothing_is_taken(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerUnavailable, match="closed"):
        ledger.append(Kind.DENIAL, DENIAL)


def test_one_directory_has_one_writer(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))
    with pytest.raises(LedgerError, match=f"being written by process {os.getpid()}"):
        Ledger.open(settings(tmp_path))
    ledger.close()
    Ledger.open(settings(tmp_path)).close()


def test_checkpoints_come_by_count(tmp_path: Path) -> None:
    build(tmp_path, exchanges=12)
    marks = [record["i"] for record in fields(tmp_path) if record["kind"] == "checkpoint"]
    assert marks[:3] == [6, 13, 20]
    assert [record["body"]["size"] for record in fields(tmp_path) if record["kind"] == "checkpoint"] == marks


def test_checkpoints_and_heartbeats_come_by_time(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path, checkpoint_idle_s=0.02, heartbeat_s=0.05, checkpoint_pause_s=0.01))
    deadline = threading.Event()
    seen: set[str] = set()
    for _ in range(500):
        seen = set(kinds(tmp_path))
        if {"heartbeat", "checkpoint"} <= seen:
            break
        deadline.wait(0.02)
    ledger.close()
    assert {"heartbeat", "checkpoint"} <= seen
    assert codes(check(tmp_path)) == []


def test_a_checkpoint_file_waits_its_turn(tmp_path: Path) -> None:
    """Syncing it for each checkpoint would be dear: within the pause the newest note waits, then is written."""
    ledger = Ledger.open(settings(tmp_path, checkpoint_pause_s=0.3))
    exchange(ledger)
    exchange(ledger)
    deadline = threading.Event()
    for _ in range(500):
        size = int((tmp_path / layout.CHECKPOINT).read_text().split("\n")[1])
        if size >= 6:
            break
        deadline.wait(0.02)
    ledger.close()
    assert size == 6


def test_segments_turn_by_size_each_with_its_own_key(tmp_path: Path) -> None:
    build(tmp_path, exchanges=30, runs=2, segment_bytes=5000)
    segments = sorted((tmp_path / layout.SEGMENTS).iterdir())
    assert len(segments) > 4
    assert all(b'"kind":"key_epoch"' in path.read_bytes().split(b"\n")[0] for path in segments)
    assert codes(check(tmp_path)) == []


def test_segments_turn_by_day(tmp_path: Path) -> None:
    day = [20_000]
    (tmp_path / layout.SEGMENTS).mkdir()
    journal = Journal(tmp_path, 0, lambda: day[0])
    assert journal.is_due(1000)
    journal.begin(0)
    journal.write(b"x\n")
    assert not journal.is_due(1000)
    day[0] += 1
    assert journal.is_due(1000)
    journal.close()


def test_a_midnight_starts_a_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path)
    monkeypatch.setattr("router.audit.journal._today", lambda: 99_999)
    build(tmp_path)
    assert len(list((tmp_path / layout.SEGMENTS).iterdir())) == 2
    assert codes(check(tmp_path)) == []
