"""Which log a directory must hold: what is kept beside it, and what `audit recover` makes of one that is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from router.audit import Ledger
from router.audit.format import layout
from router.cli.audit import audit_app
from router.continuity import Known, keep, kept, lost, parse, run_directory, stated
from router.logs import Log
from router.supervisor.remembering import Remembering
from tests.audit.ledgers import build, check, codes, copy, fields, settings

ORIGIN = f"x/audit/{'0a' * 16}"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    directory = build(tmp_path / "ledger", exchanges=3)
    run_directory(directory).mkdir(mode=0o700)
    known = stated(directory)
    assert known is not None
    keep(directory, known)
    return directory


def recover(ledger: Path, *words: str) -> Result:
    return CliRunner().invoke(audit_app, ["recover", str(ledger), *words])


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (f"{ORIGIN}\n7\nabc\n", Known(ORIGIN, 7)),
        (f"{ORIGIN}\n7", Known(ORIGIN, 7)),
        (f"{ORIGIN}\n-7\n", None),
        (f"{ORIGIN}\n٧\n", None),
        (f"{ORIGIN}\n7 \n", None),
        (f"{ORIGIN}\n{'9' * 3000}\n", None),
        (ORIGIN, None),
        (f"--{ORIGIN}\n7\n", None),
        (f"a\0{ORIGIN}\n7\n", None),
        ("x/audit/00\n7\n", None),
        ("hello\n12\n", None),
        ("\n7\n", None),
        ("\0\0\0\n7\n", None),
        ("", None),
    ],
)
def test_two_lines_say_which_log_it_is_and_how_long(text: str, known: Known | None) -> None:
    assert parse(text) == known


def test_what_lies_there_and_is_the_right_log_is_not_missed(ledger: Path) -> None:
    assert lost(ledger, None) is None
    assert lost(ledger, kept(ledger)) is None
    Ledger.open(settings(ledger)).close()
    assert lost(ledger, kept(ledger)) is None
    assert "nothing to recover" in recover(ledger).output


def test_a_log_that_is_broken_in_its_place_is_the_starts_to_refuse(ledger: Path) -> None:
    (ledger / layout.CHECKPOINT).unlink()
    assert lost(ledger, kept(ledger)) is None
    (ledger / layout.VKEY).unlink()
    assert lost(ledger, kept(ledger)) is None


def test_a_log_that_may_not_be_looked_at_is_not_said_to_be_gone(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shut(self: Path) -> None:
        raise PermissionError(f"no leave to look into {self}")

    (ledger / layout.VKEY).unlink()
    monkeypatch.setattr(Path, "iterdir", shut)
    assert lost(ledger, kept(ledger)) is None


def test_a_log_that_is_gone_is_given_up_by_a_word_and_the_new_one_says_so(ledger: Path) -> None:
    known = kept(ledger)
    assert known is not None
    ledger.rename(ledger.with_name("elsewhere"))
    looked = recover(ledger)
    assert (looked.exit_code, "there is none" in looked.output, ledger.exists()) == (1, True, False)
    done = recover(ledger, "--accept-loss", "--reason", "moved")
    assert done.exit_code == 0, done.output
    [gap] = [record["body"] for record in fields(ledger) if record["kind"] == "recovery_gap"]
    assert (gap["log"], gap["signed"], gap["reason"], "quarantine" in gap) == (known.log, known.signed, "moved", False)
    report = check(ledger)
    assert (codes(report), report.exit_code()) == (["gap"], 2)
    assert f"wrote log {known.log} in this place before" in report.text()
    assert "nothing to recover" in recover(ledger).output


def test_another_log_in_its_place_is_missed_and_may_be_gone_on_with(ledger: Path, tmp_path: Path) -> None:
    known = kept(ledger)
    assert known is not None
    ledger.rename(tmp_path / "elsewhere")
    other = fields(build(ledger, exchanges=1))[0]["log"]
    assert "another one lies there" in recover(ledger).output
    assert recover(ledger, "--accept-loss").exit_code == 0
    assert {record["log"] for record in fields(ledger)} == {other}
    assert [r["body"]["log"] for r in fields(ledger) if r["kind"] == "recovery_gap"] == [known.log]


def test_an_older_state_of_it_is_missed_and_set_aside(ledger: Path, tmp_path: Path) -> None:
    older = copy(ledger, tmp_path / "older")
    Ledger.open(settings(ledger)).close()
    remembering = Remembering(ledger, Log("supervisor"))
    remembering.learn()
    known = kept(ledger)
    assert known is not None
    ledger.rename(tmp_path / "elsewhere")
    copy(older, ledger)
    remembering.learn()
    assert kept(ledger) == known, "a shorter one teaches nothing"
    assert remembering.options() == ["--continues", f"{known.origin}\n{known.signed}"]
    missed = lost(ledger, known)
    assert missed is not None
    assert "an older state of it lies there" in missed.text
    assert recover(ledger, "--accept-loss").exit_code == 0
    [gap] = [record["body"] for record in fields(ledger) if record["kind"] == "recovery_gap"]
    assert (gap["log"], gap["signed"], gap["lost_from"]) == (known.log, known.signed, len(fields(older)))
    assert (ledger / layout.QUARANTINE / gap["quarantine"] / layout.SEGMENTS).is_dir()


def test_what_lies_there_and_is_broken_is_set_aside_first(ledger: Path, tmp_path: Path) -> None:
    ledger.rename(tmp_path / "elsewhere")
    other = fields(build(ledger, exchanges=1))[0]["log"]
    (ledger / layout.SIGNING_KEY).unlink()
    assert recover(ledger, "--accept-loss").exit_code == 0
    assert [r["body"]["log"] for r in fields(ledger) if r["kind"] == "recovery_gap"] == [other]
    assert "nothing to recover" in recover(ledger).output


def test_what_cannot_be_kept_is_said(ledger: Path, capfd: pytest.CaptureFixture[str]) -> None:
    remembering = Remembering(ledger, Log("supervisor"))
    run_directory(ledger).rename(ledger.with_name("elsewhere-run"))
    remembering.keep()
    assert '"event":"ledger_not_remembered"' in "".join(capfd.readouterr())
    nothing = Remembering(ledger.with_name("nothing"), Log("supervisor"))
    nothing.learn()
    assert nothing.options() == []
