"""Keys and notes that a reviewer brings; what a report says; the verifier as one file."""

from __future__ import annotations

import hmac
import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from router.audit.format import layout, openssl
from router.audit.format.segments import list_segments
from router.audit.prove import anchor_text
from router.audit.standalone import build as build_standalone
from router.audit.verify.__main__ import ledger_directory, main
from router.audit.verify.check import verify
from router.audit.verify.findings import MOST_FINDINGS, CannotVerifyError, Finding, Report, Weight
from router.audit.verify.keys import Keys, load_keys, parse_note
from tests.audit.attacker import replace_line, rewrite
from tests.audit.ledgers import (
    all_keys,
    build,
    check,
    vkey,
)


def test_a_library_without_ml_dsa_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = build(tmp_path / "ledger", exchanges=1, ml_dsa=True)
    keys = load_keys(directory, None, None, ())
    assert "post-quantum" in check(directory, keys).checks
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mldsa", None)
    report = check(directory, keys)
    assert "that needs cryptography 50 or newer" in report.text()
    assert (report.exit_code(), report.exit_code(strict=True)) == (0, 2)


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


def test_the_verifier_needs_no_openssl_of_pythons_own(good: Path, bad: Path, tmp_path: Path) -> None:
    """`_hashlib` is CPython's private name for it, and is missing where Python was built without."""
    file = tmp_path / "ringfence-verify.pyz"
    file.write_bytes(build_standalone())
    rewrite(bad, replace_line(3, b"gpu-1", b"gpu-2"))
    guard = "import sys, runpy; sys.modules['_hashlib'] = None; sys.argv = sys.argv[1:]; "
    guard += "runpy.run_path(sys.argv[0], run_name='__main__')"
    for directory, code in ((good, 0), (bad, 1)):
        command = [sys.executable, "-c", guard, str(file), str(directory)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == code, done.stderr


def test_the_slower_hmac_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_hashlib", None)
    other = runpy.run_path(str(openssl.__file__))
    assert other["hmac_new"] is hmac.new
    for key, text in ((b"", b""), (b"k" * 32, b"m" * 600), (b"k" * 65, b"m" * 5000)):
        assert other["hmac_new"](key, text, "sha256").digest() == openssl.hmac_new(key, text, "sha256").digest()


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
    monkeypatch.setattr(sys, "argv", ["ringfence-verify", str(good), "--strikt"])
    with pytest.raises(SystemExit) as ended:  # 2 would be "incomplete"
        main()
    assert (ended.value.code, "cannot verify: unrecognized" in capsys.readouterr().err) == (3, True)
    monkeypatch.setattr(sys, "argv", ["ringfence-verify", str(good)])
    monkeypatch.setattr("router.audit.verify.__main__.verify_with", lambda *_: 1 / 0)
    assert main() == 3
    assert "cannot verify: a mistake of this program" in capsys.readouterr().err
    command = [sys.executable, "-m", "router.audit.verify", str(good), "--strict"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
