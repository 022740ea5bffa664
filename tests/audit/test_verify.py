"""Findings of the verifier, each provoked once; keys and notes; reports; the verifier as one file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from router.audit import Kind, Ledger
from router.audit.format import layout
from router.audit.format.segments import list_segments
from router.audit.prove import anchor_text
from router.audit.standalone import build as build_standalone
from router.audit.verify.__main__ import ledger_directory, main
from router.audit.verify.batch import Batch
from router.audit.verify.check import verify
from router.audit.verify.findings import MOST_FINDINGS, CannotVerifyError, Finding, Report, Weight
from router.audit.verify.keys import Keys, load_keys, parse_note
from router.audit.verify.stream import Stream
from tests.audit.attacker import Forger, Record, steal
from tests.audit.ledgers import (
    DECISION,
    WAIT_S,
    agreed,
    all_keys,
    build,
    check,
    codes,
    copy,
    crashed,
    exchange,
    raw_lines,
    settings,
    vkey,
)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("good") / "ledger", exchanges=8)


@pytest.fixture
def bad(good: Path, tmp_path: Path) -> Path:
    return copy(good, tmp_path / "ledger")


def rewrite(directory: Path, edit: Callable[[list[bytes]], list[bytes]]) -> None:
    list_segments(directory)[0][1].write_bytes(b"".join(edit(raw_lines(directory))))


def replace_line(number: int, old: bytes, new: bytes) -> Callable[[list[bytes]], list[bytes]]:
    def edit(lines: list[bytes]) -> list[bytes]:
        assert old in lines[number]
        return [line.replace(old, new, 1) if at == number else line for at, line in enumerate(lines)]

    return edit


EDITS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str, int]] = {
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
    "deep nesting": (replace_line(3, b'"attempt":1', b'"attempt":' + b"[" * 30000 + b"]" * 30000), "form", 3),
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
    assert (code, record) in [(finding.code, finding.record) for finding in report.findings]
    places = [finding.offset for finding in report.findings if (finding.code, finding.record) == (code, record)]
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


def _later(record: Record, by_us: int) -> object:
    record["mono"], record["t"] = record["mono"] + by_us, record["t"] + by_us
    return record


BODIES: dict[str, tuple[Callable[[list[Record]], Any], str]] = {
    "a second outcome": (lambda r: r.insert(5, dict(r[4])), "orphan"),
    "an outcome before its decision": (lambda r: r[4]["body"].update(decision=20), "orphan"),
    "a list for a number": (lambda r: r[4]["body"].update(decision=[]), "body"),
    "a missing field": (lambda r: r[3]["body"].pop("upstream"), "body"),
    "an unknown kind": (lambda r: r[2].update(kind="gossip"), "body"),
    "an hour of silence": (lambda r: [x.update(mono=x["mono"] + 9 * 3_600_000_000) for x in r[5:]], "silence"),
    "hours of silence by both clocks": (lambda r: [_later(x, 9 * 3_600_000_000) for x in r[5:]], "silence"),
    "time running back": (lambda r: r[5].update(mono=r[4]["mono"] - 1), "time"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_story_that_does_not_hold_is_named(bad: Path, name: str) -> None:
    """Written by someone with all keys, or by a compromised writer: MACs and signatures are right."""
    edit, code = BODIES[name]
    forger = Forger(bad, steal(bad, mac_at=0, signing=True))
    edit(forger.records)
    forger.rebuild()
    found = set(codes(agreed(bad)))
    assert code in found
    assert found <= {code, "open", "orphan"}  # an exchange that is not whole may show twice


def test_a_clock_that_was_set_is_noted(bad: Path) -> None:
    forger = Forger(bad, steal(bad, mac_at=0, signing=True))
    for record in forger.records[5:]:
        record["t"] += 3_600_000_000
    forger.rebuild()
    report = check(bad)
    assert report.exit_code() == 0
    assert "before it the wall clock was set by 3600 s" in [finding.message for finding in report.findings]


def test_a_decision_without_outcome_is_missed_after_a_stop(bad: Path) -> None:
    forger = Forger(bad, steal(bad, mac_at=0, signing=True))
    forger.records[:] = [r for at, r in enumerate(forger.records) if at != 4]
    forger.rebuild()
    report = check(bad)
    assert "open" in codes(report)


def test_another_boot_may_have_another_clock(bad: Path) -> None:
    build(bad, exchanges=1)
    forger = Forger(bad, steal(bad, mac_at=0, signing=True))
    place = max(at for at, record in enumerate(forger.records) if record["kind"] == "key_epoch")
    forger.records[place]["body"]["boot"] = "another-boot"
    for at, record in enumerate(forger.records[place:]):
        record["mono"] = at
    forger.rebuild()
    assert "time" not in codes(check(bad))


def test_a_running_log_is_verified_as_far_as_it_goes(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))
    exchange(ledger)
    report = check(tmp_path)
    ledger.close()
    assert report.exit_code() == 0
    assert "running" in [finding.code for finding in report.findings]


def test_an_exchange_under_way_is_a_note(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))
    ticket = ledger.append(Kind.DECISION, DECISION)
    ticket.wait(WAIT_S)
    report = check(tmp_path)
    assert (report.exit_code(), [f.record for f in report.findings if f.code == "open"]) == (0, [ticket.index])
    ledger.close()
    assert check(tmp_path).exit_code() == 2


def test_a_torn_tail_is_incomplete(tmp_path: Path) -> None:
    directory = crashed(tmp_path / "ledger")
    with list_segments(directory)[-1][1].open("ab") as file:
        file.write(b'{"v":1,')
    report = check(directory)
    assert (codes(report), report.exit_code()) == (["torn"], 2)
    assert "the last 7 bytes are no whole record" in report.text()


def test_a_flood_of_open_decisions_is_given_up(bad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.audit.verify.story.MOST_OPEN", 3)
    forger = Forger(bad, steal(bad, mac_at=0, signing=True))
    forger.records[:] = [r for r in forger.records if r["kind"] != "outcome"]
    forger.rebuild()
    assert codes(check(bad)).count("open") == 2  # two floods of four among eight


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


def test_a_library_without_ml_dsa_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = build(tmp_path / "ledger", exchanges=1, ml_dsa=True)
    keys = load_keys(directory, None, None, ())
    assert "post-quantum" in check(directory, keys).checks
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mldsa", None)
    report = check(directory, keys)
    assert "that needs cryptography 50 or newer" in report.text()
    assert (report.exit_code(), report.exit_code(strict=True)) == (0, 2)


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


def test_without_the_right_keys_it_says_what_it_could_not_check(good: Path, tmp_path: Path) -> None:
    other = build(tmp_path / "other")
    alone = check(good, Keys(vkey(good)))
    assert alone.exit_code() == 0
    assert alone.exit_code(strict=True) == 2
    assert "MACs" not in alone.checks
    strange = check(good, replace(all_keys(good), reviewer=all_keys(other).reviewer))
    assert {"key", "macs"} <= {f.code for f in strange.findings}
    assert strange.exit_code() == 0
    assert strange.exit_code(strict=True) == 2


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


# --- notes, keys, reports, command line ---


def test_notes_are_size_and_root_or_a_saved_checkpoint(good: Path, tmp_path: Path) -> None:
    keys = load_keys(good, None, vkey(good).text(), (anchor_text(good), str(good / layout.CHECKPOINT)))
    report = check(good, keys)
    assert report.checks["notes"].startswith("2 of 2 numbers from outside agree")
    assert report.exit_code(strict=True) == 2  # the reviewer's key lies beside the log
    away = replace(keys, reviewer_beside=False)
    assert check(good, away).exit_code(strict=True) == 0


@pytest.mark.parametrize("text", ["7:!!", "7:AAAA", "x:AAAA", "/nonexistent"])
def test_what_is_no_note_is_refused(good: Path, text: str) -> None:
    with pytest.raises(CannotVerifyError):
        parse_note(text, vkey(good))


def test_keys_come_from_files_or_text(good: Path, tmp_path: Path) -> None:
    file = tmp_path / "vkey"
    file.write_text(vkey(good).text() + "\n")
    assert load_keys(good, None, str(file), ()).vkey == vkey(good)
    assert load_keys(good, good / layout.REVIEWER_SECRET, None, ()).reviewer_beside is False
    for arguments in [(tmp_path, None, None), (good, None, "nonsense"), (good, None, "non+sense"), (good, file, None)]:
        with pytest.raises(CannotVerifyError):
            load_keys(*arguments, ())


def test_without_a_reviewers_key_there_is_none(bad: Path) -> None:
    (bad / layout.REVIEWER_SECRET).unlink()
    assert load_keys(bad, None, None, ()).reviewer is None


def test_a_directory_that_is_no_ledger_cannot_be_verified(good: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotVerifyError, match="cannot be read as a ledger"):
        verify(tmp_path, Keys(vkey(good)))


def test_a_report_counts_what_it_does_not_keep() -> None:
    report = Report("ledger")
    for number in range(MOST_FINDINGS + 5):
        report.add(Finding(Weight.INCOMPLETE, "open", "open", number))
    assert len(report.findings) == MOST_FINDINGS
    assert report.text().endswith("… and 5 more findings")
    assert report.exit_code() == 2


def test_any_file_of_a_ledger_stands_for_it(good: Path) -> None:
    segment = list_segments(good)[0][1]
    assert {ledger_directory(path) for path in (good, segment, good / layout.CHECKPOINT)} == {good}


def test_the_verifier_is_one_file(good: Path, bad: Path, tmp_path: Path) -> None:
    """On another machine: no msgspec, no router, only the standard library and a cryptography as old as Debian 12's."""
    file = tmp_path / "ringfence-verify.pyz"
    file.write_bytes(build_standalone())
    assert build_standalone() == file.read_bytes()
    rewrite(bad, replace_line(3, b"gpu-1", b"gpu-2"))
    guard = (
        "import sys, runpy\n"
        "class No:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] in ('msgspec', 'typer', 'policies', 'pydantic'): raise ImportError(name)\n"
        "        if name.startswith('cryptography') and name.endswith(('hpke', 'mldsa')): raise ImportError(name)\n"
        "sys.meta_path.insert(0, No())\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    second = build(tmp_path / "second", exchanges=1, ml_dsa=True)
    for directory, code in ((good, 0), (bad, 1), (second, 0), (tmp_path, 3)):
        command = [sys.executable, "-c", guard, str(file), str(directory), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert ("that needs cryptography 50 or newer" in done.stdout) == (directory == second)
    without = guard.replace("'msgspec'", "'cryptography'")
    done = subprocess.run([sys.executable, "-c", without, file, good], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[:65]) == (
        3,
        "cannot verify: Python 3.11 and its package cryptography are neede",
    )
    report = json.loads(subprocess.run(
        [sys.executable, file, bad, "--json"], capture_output=True, text=True, check=False, cwd=tmp_path
    ).stdout)  # fmt: skip
    assert report["verdict"] == "TAMPERED"
    assert report["findings"][0]["record"] == 3


def test_the_command_line_says_the_same(
    good: Path, bad: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["ringfence-verify", str(good)])
    assert main() == 0
    assert "intact" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["ringfence-verify", str(good), "--strict", "--json"])
    assert main() == 2
    assert msgspec.json.decode(capsys.readouterr().out)["exit_code"] == 2
    monkeypatch.setattr(sys, "argv", ["ringfence-verify", str(bad / "nothing")])
    assert main() == 3
    monkeypatch.setattr(sys, "argv", ["ringfence-verify", str(good)])
    monkeypatch.setattr("router.audit.verify.__main__.verify", lambda *_: 1 / 0)
    assert main() == 3
    assert "cannot verify: a mistake of this program" in capsys.readouterr().err
    command = [sys.executable, "-m", "router.audit.verify", str(good), "--strict"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
