"""What a start makes of what a crash, a full disk or an intruder left behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from router.audit import Kind, Ledger, LedgerError
from router.audit.format import layout
from router.audit.format.segments import list_segments
from tests.audit.ledgers import (
    DECISION,
    WAIT_S,
    build,
    check,
    codes,
    copy,
    crashed,
    exchange,
    fields,
    kinds,
    raw_lines,
    settings,
    vkey,
)


def last_segment(directory: Path) -> Path:
    return list_segments(directory)[-1][1]


def reopen(directory: Path) -> None:
    Ledger.open(settings(directory)).close()


def checkpoint_size(directory: Path) -> int:
    return int((directory / layout.CHECKPOINT).read_text().split("\n")[1])


def test_a_crash_is_told_and_its_open_exchange_closed(tmp_path: Path) -> None:
    directory = crashed(tmp_path / "ledger")
    reopen(directory)
    records = fields(directory)
    assert [record["body"]["previous"] for record in records if record["kind"] == "start"] == ["first", "crashed"]
    assert [r["body"] for r in records if r["kind"] == "outcome"][-1] == {"decision": 14, "ending": "interrupted"}
    assert codes(check(directory)) == []


def test_orphans_are_found_however_far_back_they_lie(tmp_path: Path) -> None:
    """The decision stands segments before the end; the checkpoint records say how far back to look."""
    alive = Ledger.open(settings(tmp_path / "alive", segment_bytes=4000))
    orphan = alive.append(Kind.DECISION, DECISION)
    orphan.wait(WAIT_S)
    for _ in range(60):
        exchange(alive)
    directory = copy(tmp_path / "alive", tmp_path / "ledger")
    alive.append(Kind.OUTCOME, {"decision": orphan.index, "ending": "completed"})
    alive.close()
    assert len(list_segments(directory)) > 3
    reopen(directory)
    interrupted = [r["body"]["decision"] for r in fields(directory) if r["body"].get("ending") == "interrupted"]
    assert interrupted == [orphan.index]
    assert codes(check(directory)) == []


@pytest.mark.slow
def test_the_end_may_be_torn_at_any_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record under the checkpoint is there, or the start refuses; what was torn is kept and told."""
    for call in ("fsync", "fdatasync"):  # hundreds of starts: their durability is not the question here
        monkeypatch.setattr(os, call, lambda _: None)
    directory = crashed(tmp_path / "ledger")
    data = last_segment(directory).read_bytes()
    lines = raw_lines(directory)
    signed = sum(map(len, lines[: checkpoint_size(directory) + 1]))  # and the record that says so
    ends = {sum(map(len, lines[:count])) for count in range(len(lines) + 1)}
    for at in range(signed - 40, len(data)):
        torn = copy(directory, tmp_path / f"torn-{at}")
        last_segment(torn).write_bytes(data[:at])
        if at < signed:
            with pytest.raises(LedgerError, match=r"records, but .* were signed for.*: it was cut"):
                reopen(torn)
            continue
        reopen(torn)
        report = check(torn)
        assert codes(report) == ([] if at in ends else ["gap"]), at
        assert report.exit_code() == (0 if at in ends else 2)
        kept = list((torn / layout.QUARANTINE).iterdir()) if at not in ends else []
        assert b"".join(path.read_bytes() for path in kept) == data[max(e for e in ends if e <= at) : at]
        assert raw_lines(torn)[: checkpoint_size(directory)] == lines[: checkpoint_size(directory)]
        shutil.rmtree(torn)


@pytest.mark.parametrize(
    "tail", [bytes(4096), bytes(2_000_000), b"\n", b"{}\n", b'{"v":1}"}\n', b'"}\n' * 3, b"\xff" * 70_000 + b"\n"]
)
def test_garbage_behind_the_last_record_is_set_aside(tmp_path: Path, tail: bytes) -> None:
    directory = crashed(tmp_path / "ledger")
    with last_segment(directory).open("ab") as file:
        file.write(tail)
    reopen(directory)
    gap = next(record["body"] for record in fields(directory) if record["kind"] == "recovery_gap")
    assert gap["bytes"] == len(tail)
    assert gap["lost_from"] == 15
    assert codes(check(directory)) == ["gap"]


def test_a_torn_line_that_still_parses_is_set_aside(tmp_path: Path) -> None:
    """The chain decides, not the JSON: the last line again, and one with another predecessor."""
    directory = crashed(tmp_path / "ledger")
    data = last_segment(directory).read_bytes()
    last = raw_lines(directory)[-1]
    follows = last.replace(b'"i":14', b'"i":15')
    strange = follows.replace(b'"prev":"', b'"prev":"zz')
    for at, tail in enumerate([last, follows, strange]):
        torn = copy(directory, tmp_path / f"again-{at}")
        last_segment(torn).write_bytes(data + tail)
        reopen(torn)
        assert codes(check(torn)) == ["gap"]


def test_a_segment_that_begins_with_a_strange_link_is_set_aside(tmp_path: Path) -> None:
    directory = crashed(tmp_path / "ledger")
    line = raw_lines(directory)[-1].replace(b'"i":14', b'"i":15').replace(b'"prev":"', b'"prev":"zz')
    (directory / layout.SEGMENTS / layout.segment_name(15)).write_bytes(line)
    reopen(directory)
    assert codes(check(directory)) == ["gap"]


def test_a_gap_is_told_by_the_next_start_if_the_first_could_not(tmp_path: Path) -> None:
    """Bytes were set aside, then the process died before its first record."""
    directory = crashed(tmp_path / "ledger")
    (directory / layout.QUARANTINE).mkdir()
    (directory / layout.QUARANTINE / layout.torn_name(15, 3)).write_bytes(b"abc")
    reopen(directory)
    reopen(directory)
    gaps = [record["body"]["bytes"] for record in fields(directory) if record["kind"] == "recovery_gap"]
    assert gaps == [3]


def test_an_empty_new_segment_is_no_obstacle(tmp_path: Path) -> None:
    directory = crashed(tmp_path / "ledger")
    (directory / layout.SEGMENTS / layout.segment_name(15)).write_bytes(b'{"v"')
    reopen(directory)
    assert len(list_segments(directory)) == 1
    assert codes(check(directory)) == ["gap"]


def test_a_first_start_that_died_is_no_obstacle(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path / "alive"))
    directory = copy(tmp_path / "alive", tmp_path / "ledger")
    ledger.close()
    last_segment(directory).write_bytes(b"")
    reopen(directory)
    assert kinds(directory) == ["key_epoch", "start", "stop", "checkpoint"]
    assert codes(check(directory)) == []


def test_lost_tiles_are_made_again(tmp_path: Path) -> None:
    directory = build(tmp_path / "ledger", exchanges=200)
    for path in (directory / layout.TILES).rglob("0*"):
        if path.is_file():
            path.unlink()
    reopen(directory)
    assert codes(check(directory)) == []


@pytest.mark.parametrize("text", [None, "", "nonsense\n", "stranger"])
def test_without_its_checkpoint_a_ledger_is_not_continued(tmp_path: Path, text: str | None) -> None:
    directory = build(tmp_path / "ledger")
    path = directory / layout.CHECKPOINT
    if text is None:
        path.unlink()
    elif text == "stranger":
        other = build(tmp_path / "other")
        path.write_text((other / layout.CHECKPOINT).read_text())
        assert vkey(other) != vkey(directory)
    else:
        path.write_text(text)
    with pytest.raises(LedgerError, match="is missing or not signed by this ledger"):
        reopen(directory)


def test_an_altered_record_stops_the_start(tmp_path: Path) -> None:
    directory = build(tmp_path / "ledger")
    segment = last_segment(directory)
    segment.write_bytes(segment.read_bytes().replace(b"gpu-1", b"gpu-2", 1))
    with pytest.raises(LedgerError, match=r"it was cut|not those that were signed for"):
        reopen(directory)


def test_an_altered_record_of_an_earlier_segment_stops_the_start(tmp_path: Path) -> None:
    directory = build(tmp_path / "ledger", exchanges=30, segment_bytes=4000)
    segment = list_segments(directory)[0][1]
    segment.write_bytes(segment.read_bytes().replace(b"gpu-1", b"gpu-2", 1))
    with pytest.raises(LedgerError, match="not those that were signed for"):
        reopen(directory)


def test_a_lost_segment_stops_the_start(tmp_path: Path) -> None:
    directory = build(tmp_path / "ledger", exchanges=30, segment_bytes=4000)
    list_segments(directory)[1][1].unlink()
    with pytest.raises(LedgerError, match=r"cannot be read: records .* are in no tile and no segment"):
        reopen(directory)


def test_the_loss_of_all_segments_stops_the_start(tmp_path: Path) -> None:
    directory = build(tmp_path / "ledger")
    for _, path in list_segments(directory):
        path.unlink()
    with pytest.raises(LedgerError, match=r"has 0 records, but \d+ were signed for: it was cut"):
        reopen(directory)


def test_a_segment_that_is_no_file_stops_the_start(tmp_path: Path) -> None:
    directory = build(tmp_path / "ledger")
    segment = last_segment(directory)
    moved = segment.rename(tmp_path / "elsewhere")
    segment.symlink_to(moved)
    with pytest.raises(LedgerError, match="cannot be read"):
        reopen(directory)
