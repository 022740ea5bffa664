"""Altered lines and files: each finding of the verifier, provoked once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.audit.format import layout
from router.audit.format.segments import list_segments
from router.audit.verify.batch import Batch
from router.audit.verify.findings import CannotVerifyError
from router.audit.verify.keys import load_keys
from router.audit.verify.stream import Stream
from tests.audit.attacker import Edit, Forger, replace_line, rewrite, steal
from tests.audit.ledgers import (
    agreed,
    check,
    codes,
    copy,
    crashed,
    raw_lines,
)

EDITS: dict[str, tuple[Edit, str, int]] = {
    "a changed value": (replace_line(3, b"gpu-1", b"gpu-2"), "mac", 3),
    "a changed link": (replace_line(3, b'"prev":"', b'"prev":"00'), "chain", 3),
    "a link that is no number": (replace_line(3, b'"prev":"', b'"prev":"zz'), "chain", 3),
    "a changed index": (replace_line(3, b'"i":3,', b'"i":300,'), "index", 3),
    "an index that is no number": (replace_line(3, b'"i":3,', b'"i":"3",'), "form", 3),
    "a changed log": (replace_line(3, b'"log":"', b'"log":"00'), "foreign", 3),
    "another version": (replace_line(3, b'{"v":1', b'{"v":2'), "foreign", 3),
    "another epoch": (replace_line(3, b'"epoch":1', b'"epoch":2'), "epoch", 3),
    "a space": (replace_line(3, b'"body":{', b'"body": {'), "form", 3),
    "a doubled member": (replace_line(3, b'"body":{', b'"body":{"model":"x",'), "form", 3),
    "a huge number": (replace_line(3, b'"attempt":1', b'"attempt":1e400'), "form", 3),
    "deep nesting": (replace_line(3, b'"attempt":1', b'"attempt":' + b"[" * 30000 + b"]" * 30000), "form|mac", 3),
    "invalid UTF-8": (replace_line(3, b"gpu-1", b"\xff\xfe"), "form", 3),
    "a NUL": (replace_line(3, b"gpu-1", b"\x00"), "form", 3),
    "a carriage return": (replace_line(3, b'"}\n', b'"}\r\n'), "form", 3),
    "time that is text": (replace_line(3, b'"t":', b'"t":"x","T":'), "form", 3),
    "time that is no integer": (replace_line(3, b'"mono":', b'"mono":0.5e1,"m":'), "form", 3),
    "a MAC of another length": (replace_line(3, b'"mac":"', b'"mac":"00'), "form", 3),
    "a deleted record": (lambda lines: lines[:3] + lines[4:], "missing", 4),
    "a doubled record": (lambda lines: lines[:4] + lines[3:], "order", 3),
    "an empty line": (lambda lines: [*lines[:3], b"\n", *lines[3:]], "form", 3),
    "not JSON": (lambda lines: [*lines[:3], b'nonsense"}\n', *lines[4:]], "form", 3),
    "a list": (lambda lines: [*lines[:3], b'["x"}\n', *lines[4:]], "form", 3),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_named_with_its_record(bad: Path, name: str) -> None:
    edit, code, record = EDITS[name]
    rewrite(bad, edit)
    report = agreed(bad)
    assert report.exit_code() == 1
    codes = code.split("|")  # by how deep this Python's parser goes
    places = [finding.offset for finding in report.findings if finding.code in codes and finding.record == record]
    assert places, [(finding.code, finding.record) for finding in report.findings]
    assert places[0] == sum(map(len, raw_lines(bad)[: min(record, 4) if code != "missing" else 3])) or code == "order"


def test_the_quick_way_is_taken(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.audit.format.segments.CHUNK", 4000)
    slow, one_by_one = [], Stream._read_each

    def read_each(stream: Stream, lines: list[bytes], ending: bytes) -> Iterator[Batch]:
        slow.append(stream.index)
        return one_by_one(stream, lines, ending)

    monkeypatch.setattr(Stream, "_read_each", read_each)
    check(good)
    assert slow[0] == 0  # the block with the epoch's first record
    assert len(slow) <= 2  # and the one where indexes get a second digit


def test_a_torn_tail_is_incomplete(tmp_path: Path) -> None:
    directory = crashed(tmp_path / "ledger")
    with list_segments(directory)[-1][1].open("ab") as file:
        file.write(b'{"v":1,')
    report = check(directory)
    assert (codes(report), report.exit_code()) == (["torn"], 2)
    assert "the last 7 bytes are no whole record" in report.text()


def test_a_segment_in_the_wrong_place_and_an_endless_line(bad: Path) -> None:
    segment = list_segments(bad)[0][1]
    (segment.parent / layout.segment_name(900)).write_bytes(b"x" * 3_000_000)
    assert {"segment", "unreadable"} <= set(codes(check(bad)))


def test_a_segment_that_is_a_link_is_not_followed(bad: Path, tmp_path: Path) -> None:
    segment = list_segments(bad)[0][1]
    moved = segment.rename(tmp_path / "moved")
    segment.symlink_to(moved)
    assert "unreadable" in codes(check(bad))


def test_a_line_longer_than_the_format_allows_is_named(bad: Path) -> None:
    filler = b'"attempt":1,"x":"' + b"y" * 65_200 + b'"'
    rewrite(bad, replace_line(3, b'"attempt":1', filler))
    assert ("form", 3) in [(finding.code, finding.record) for finding in check(bad).findings]


def test_the_checkpoint_file_is_missed(bad: Path) -> None:
    (bad / layout.CHECKPOINT).unlink()
    assert codes(check(bad)) == ["checkpoint"]


@pytest.mark.parametrize("name", [layout.CHECKPOINT, layout.VKEY, layout.REVIEWER_SECRET])
def test_a_hostile_directory_neither_hangs_nor_fills_the_reader(bad: Path, name: str) -> None:
    """A pipe that nobody writes to, a link to somewhere else, a file without end."""
    path = bad / name
    elsewhere = path.rename(bad / "elsewhere")
    for put in (lambda: os.mkfifo(path), lambda: path.symlink_to(elsewhere), lambda: path.write_bytes(b"x" * 99_999)):
        put()
        if name == layout.CHECKPOINT:
            assert "checkpoint" in codes(check(bad))
        else:
            with pytest.raises(CannotVerifyError):
                load_keys(bad, None, None, ())
        path.unlink()


def test_a_gap_in_the_indexes_keeps_nobody_busy(bad: Path) -> None:
    rewrite(bad, lambda lines: [*lines[:3], lines[4].replace(b'"i":4,', b'"i":99999999999,')])
    assert "missing" in codes(check(bad))


def test_an_epoch_with_an_unreadable_key_cannot_be_checked(bad: Path) -> None:
    forger = Forger(bad, steal(bad, signing=True))
    forger.records[0]["body"]["sealed"] = "!!"
    forger.rebuild()
    found = {finding.code for finding in check(bad).findings}
    assert "key" in found


def test_signatures_that_are_no_signatures(bad: Path) -> None:
    forger = Forger(bad, steal(bad, mac_at=0, signing=True))
    forger.rebuild()
    for number in (0, 6):
        broken = copy(bad, bad.with_name(f"broken-{number}"))
        rewrite(broken, replace_line(number, b'"sig":"', b'"sig":"!'))
        assert {"epoch_signature", "signature"} & set(codes(check(broken)))
