"""Retention: old segments go, and everything that can be proven stays provable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from router.audit import Kind, Ledger, LedgerError
from router.audit.format import layout
from router.audit.format.proofs import ProofError, parse_receipt
from router.audit.format.segments import list_segments
from router.audit.format.tiles import HashReader
from router.audit.format.tree import empty_root
from router.audit.prove import newest_checkpoint, prove
from router.audit.prune import prepare
from router.audit.verify.findings import CannotVerifyError
from router.audit.verify.keys import Note
from tests.audit.ledgers import DECISION, WAIT_S, all_keys, build, check, codes, exchange, fields, settings


def prune(directory: Path, before: int) -> int:
    ledger = Ledger.open(settings(directory))
    try:
        return ledger.prune(before, "retention")
    finally:
        ledger.close()


def test_a_beginning_that_was_deleted_is_no_pruned_one(tmp_path: Path) -> None:
    """Full tiles stand in for the deleted records, and every number from outside agrees: the erasure record is missing.
    Nor does one that tells of fewer records help.
    """
    build(tmp_path, exchanges=400, segment_bytes=40_000)
    checkpoint, _ = newest_checkpoint(tmp_path)
    note = Note(checkpoint.size, checkpoint.root, "notebook")
    prune(tmp_path, 100)
    assert codes(check(tmp_path, all_keys(tmp_path, note))) == []
    path = list_segments(tmp_path)[0][1]
    kept = path.read_bytes()
    path.unlink()
    report = check(tmp_path, all_keys(tmp_path, note))
    assert (codes(report), report.exit_code()) == (["missing"], 1)
    assert "no erasure record says that so many were pruned" in report.text()
    path.write_bytes(kept)
    assert codes(check(tmp_path, all_keys(tmp_path, note))) == []


def test_a_pruning_that_was_interrupted_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, exchanges=60, segment_bytes=4000)
    monkeypatch.setattr("router.audit.ledger.remove", lambda *_: None)
    assert prune(tmp_path, 100) > 2
    assert codes(check(tmp_path)) == []
    list_segments(tmp_path)[0][1].unlink()
    assert codes(check(tmp_path)) == []


def test_a_tile_that_is_written_in_pieces_is_whole_before_anything_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """write(2) may take less than it was given, without an error, where the disk is nearly full."""
    build(tmp_path, exchanges=200, segment_bytes=20_000)
    for path in (tmp_path / layout.TILES).rglob("*"):
        if path.is_file():
            path.unlink()
    real = os.write
    monkeypatch.setattr("router.audit.format.tiles.os.write", lambda descriptor, data: real(descriptor, data[:1000]))
    assert prune(tmp_path, 300) > 2
    assert codes(check(tmp_path)) == []


@pytest.mark.parametrize("reader", [False, True])
def test_nothing_is_pruned_where_a_pipe_stands_for_a_tile(tmp_path: Path, *, reader: bool) -> None:
    """And nobody waits for somebody to read from it."""
    build(tmp_path, exchanges=200, segment_bytes=20_000)
    tile = tmp_path / layout.tile_path(0, 0)
    tile.unlink()
    os.mkfifo(tile)
    opened = os.open(tile, os.O_RDONLY | os.O_NONBLOCK) if reader else -1
    segments = len(list_segments(tmp_path))
    with pytest.raises(OSError, match="not an ordinary file" if reader else "No such device"):
        prune(tmp_path, 300)
    assert len(list_segments(tmp_path)) >= segments
    if reader:
        os.close(opened)


def test_a_pipe_in_place_of_a_tile_does_not_stop_the_writer(tmp_path: Path) -> None:
    """Tiles can be made again: it goes on without this one."""
    ledger = Ledger.open(settings(tmp_path))
    tile = tmp_path / layout.tile_path(0, 0)
    tile.parent.mkdir(parents=True)
    os.mkfifo(tile)
    for _ in range(140):
        exchange(ledger)
    assert ledger.close() is None
    assert codes(check(tmp_path)) == []


def test_a_pruned_log_still_verifies_to_its_old_note(tmp_path: Path) -> None:
    build(tmp_path, exchanges=200, segment_bytes=20_000)
    checkpoint, _ = newest_checkpoint(tmp_path)
    old_receipt = prove(tmp_path, 5)
    ledger = Ledger.open(settings(tmp_path, segment_bytes=20_000))
    gone = ledger.prune(300, "retention")
    exchange(ledger)
    ledger.close()
    assert gone > 2
    first = list_segments(tmp_path)[0][0]
    assert 100 < first <= 300
    note = Note(checkpoint.size, checkpoint.root, "notebook")
    report = check(tmp_path, all_keys(tmp_path, note))
    assert codes(report) == []
    assert report.first == first
    assert report.checks["notes"].startswith("1 of 1")
    parse_receipt(old_receipt.text()).verify(all_keys(tmp_path).vkey)
    with pytest.raises(ProofError, match="there is no record 5"):
        prove(tmp_path, 5)
    prove(tmp_path, first + 1)
    build(tmp_path, exchanges=40, segment_bytes=20_000)  # it goes on growing
    assert codes(check(tmp_path)) == []


def test_a_note_from_before_the_pruning_still_counts(tmp_path: Path) -> None:
    """The hashes of the pruned records prove that what is left continues the log that was noted; and only that log."""
    build(tmp_path, exchanges=30, segment_bytes=4000)
    early = HashReader(tmp_path).stack(20).root()
    build(tmp_path, exchanges=30, segment_bytes=4000)
    prune(tmp_path, 60)
    first = list_segments(tmp_path)[0][0]
    assert first > 20
    begun = HashReader(tmp_path).stack(first).root()
    notes = Note(20, early, "notebook"), Note(first, begun, "later"), Note(0, empty_root(), "zero")
    good = check(tmp_path, all_keys(tmp_path, *notes))
    assert (codes(good), good.checks["notes"][:6]) == ([], "3 of 3")
    for size, root in ((21, early), (20, begun), (first, early), (0, early)):
        assert codes(check(tmp_path, all_keys(tmp_path, Note(size, root, "notebook")))) == ["root"]
    next(path for path in (tmp_path / layout.TILES / "0").rglob("*") if path.is_file()).write_bytes(bytes(first * 32))
    assert "root" in codes(check(tmp_path, all_keys(tmp_path, Note(20, early, "notebook"))))


def test_the_writer_goes_on_after_pruning_and_a_crash(tmp_path: Path) -> None:
    build(tmp_path, exchanges=60, segment_bytes=4000)
    prune(tmp_path, 100)
    build(tmp_path, exchanges=3)
    assert codes(check(tmp_path)) == []


def test_without_the_tiles_the_rest_cannot_be_verified(tmp_path: Path) -> None:
    build(tmp_path, exchanges=60, segment_bytes=4000)
    list_segments(tmp_path)[0][1].unlink()
    with pytest.raises(CannotVerifyError, match="no tiles stand in for"):
        check(tmp_path)


def test_an_exchange_under_way_is_kept(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path, segment_bytes=3000))
    under_way = ledger.append(Kind.DECISION, DECISION)
    for _ in range(30):
        exchange(ledger)
    assert ledger.prune(1000, "retention") == 0
    ledger.append(Kind.OUTCOME, {"decision": under_way.index, "ending": "completed"}).wait(WAIT_S)
    assert ledger.prune(1000, "retention") > 0
    ledger.close()
    assert codes(check(tmp_path)) == []
    assert [r["body"]["subject"] for r in fields(tmp_path) if r["kind"] == "erasure"] == ["segments"]


def test_nothing_is_pruned_from_a_log_that_does_not_hold(tmp_path: Path) -> None:
    build(tmp_path, exchanges=60, segment_bytes=4000)
    path = list_segments(tmp_path)[0][1]
    path.write_bytes(path.read_bytes().replace(b"gpu-1", b"gpu-2", 1))
    with pytest.raises(LedgerError, match="nothing was pruned"):
        prepare(tmp_path, 50)
    list_segments(tmp_path)[2][1].unlink()
    with pytest.raises(LedgerError, match="nothing was pruned: records"):
        prepare(tmp_path, 100)
