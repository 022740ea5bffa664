"""`ringfence audit`: verify, show, tail, keygen, anchor, erase, prune: exit codes, sentences, files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from router.audit import Kind, Ledger
from router.audit.format import content, layout
from router.audit.format.segments import SegmentError, list_segments
from router.audit.show import Tail
from tests.audit.commands import run
from tests.audit.ledgers import build, copy, exchange, kinds, settings, vkey
from tests.audit.test_content import talk, today
from tests.settings.conftest import as_ordinary_user


@pytest.fixture
def altered(good: Path, tmp_path: Path) -> Path:
    directory = copy(good, tmp_path / "altered")
    segment = list_segments(directory)[0][1]
    segment.write_bytes(segment.read_bytes().replace(b"gpu-1", b"gpu-2", 1))
    return directory


def test_verify_and_its_exit_codes(good: Path, altered: Path, tmp_path: Path) -> None:
    assert run("verify", good).exit_code == 0
    assert run("verify", good, "--strict").exit_code == 2
    broken = run("verify", altered)
    assert broken.exit_code == 1
    assert "record 3: its MAC is wrong" in broken.output
    assert run("verify", tmp_path / "nothing").exit_code == 3
    report = json.loads(run("verify", good, "--json").output)
    assert (report["verdict"], report["exit_code"], report["records"]) == ("intact", 0, 25)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--kind", "decision"], 8),
        (["--caller", "alice"], 16),
        (["--caller", "bob"], 1),
        (["--caller", "nobody"], 0),
        (["--model", "m", "--kind", "outcome"], 8),
        (["--tier", "gpu", "--upstream", "gpu-1", "--kind", "decision"], 8),
        (["--reason", "model_unknown"], 1),
        (["--reason", "completed"], 8),
        (["--request-id", "req-2"], 1),
        (["--since", "2020-01-01", "--kind", "denial"], 1),
        (["--since", "2999-01-01T00:00:00+01:00"], 0),
        (["--until", "2020-01-01"], 0),
    ],
)
def test_show_filters(good: Path, filters: list[str], count: int) -> None:
    shown = run("show", good, *filters)
    assert shown.exit_code == 0
    assert len(shown.output.splitlines()) == count


def test_a_kind_that_no_record_has_is_no_answer(good: Path) -> None:
    shown = run("show", good, "--kind", "denials")
    assert (shown.exit_code, "no record is of the kind 'denials': use start" in shown.output) == (3, True)


def test_a_file_that_is_not_there_is_named(good: Path) -> None:
    done = run("match", "no-text", good)
    assert (done.exit_code, done.output) == (3, "cannot do that: no-text: No such file or directory\n")


def test_show_is_for_the_eye_and_json_is_whole(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))
    ledger.append(
        Kind.ENFORCEMENT, {"process": "gate", "level": "x", "passed": list("abcde"), "notes": list("ab"), "failed": []}
    )
    ledger.append(Kind.POLICY, {"digest": "ab" * 32, "source": "s" * 120})
    ledger.close()
    shown, whole = run("show", tmp_path).output, run("show", tmp_path, "--json").output
    assert "passed=(5) failed=none notes=a,b" in shown
    assert f"digest=abababababab… source={'s' * 95}…\n" in shown
    assert "ab" * 32 in whole


def test_show_speaks_json_and_refuses_what_is_not_whole(good: Path, altered: Path) -> None:
    shown = run("show", good, "--kind", "denial", "--json")
    assert json.loads(shown.output)["body"]["caller"] == "bob"
    broken = run("show", altered)
    assert broken.exit_code == 1
    assert broken.output.startswith(f"{altered}: TAMPERED")
    assert "chat/completions" not in broken.output
    assert run("show", good, "--since", "yesterday").exit_code == 3


def test_tail_and_follow(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [line.split()[3] for line in run("tail", good, "-n", 2).output.splitlines()] == ["stop", "checkpoint"]
    assert run("tail", tmp_path / "nothing").exit_code == 3
    (tmp_path / layout.SEGMENTS).mkdir()
    assert run("tail", tmp_path).output == ""

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    assert run("tail", good, "-f").exit_code == 0


def test_a_tail_does_not_wait_at_a_pipe(tmp_path: Path) -> None:
    build(tmp_path)
    tail = Tail(tmp_path, 3)
    tail.first()
    os.mkfifo(tmp_path / layout.SEGMENTS / layout.segment_name(10_000))
    with pytest.raises(SegmentError, match="is not an ordinary file"):
        tail.again()


def test_a_tail_goes_on_into_the_next_segment(tmp_path: Path) -> None:
    (tmp_path / layout.SEGMENTS).mkdir()
    tail = Tail(tmp_path, 3)
    assert tail.again() == []
    ledger = Ledger.open(settings(tmp_path, segment_bytes=3000))
    seen = len(tail.again())
    for _ in range(12):
        exchange(ledger)
        seen += len(tail.again())
    ledger.close()
    for _ in range(20):
        seen += len(tail.again())
    assert seen >= len(kinds(tmp_path)) - 5  # it began with the newest three of those written before
    last = list_segments(tmp_path)[-1][1]
    with last.open("ab") as file:
        file.write(b"nonsense\nunfinished")
    assert tail.again() == ["(not a record)"]


def test_keygen_prints_what_to_do_and_overwrites_nothing(tmp_path: Path) -> None:
    made = run("keygen", "--out", tmp_path / "keys")
    assert made.exit_code == 0
    assert "keep it offline" in made.output
    assert run("keygen", "--out", tmp_path / "keys").exit_code == 3
    (tmp_path / "ledger").mkdir()
    (tmp_path / "keys" / "reviewer.pub").rename(tmp_path / "ledger" / "reviewer.pub")
    build(tmp_path / "ledger")
    checked = run("verify", tmp_path / "ledger", "--key", tmp_path / "keys" / "reviewer.key")
    assert checked.exit_code == 0
    assert "lies beside" not in checked.output


def test_anchors(good: Path) -> None:
    note = run("anchor", good).output.strip()
    assert run("verify", good, "--note", note).exit_code == 0
    size, root = note.split(":")
    wrong = run("verify", good, "--note", f"{int(size) - 1}:{root}")
    assert wrong.exit_code == 1
    assert "the log was rewritten" in wrong.output
    longer = run("verify", good, "--note", f"{int(size) + 5}:{root}")
    assert longer.exit_code == 1
    assert "it was cut or rolled back" in longer.output
    assert run("anchor", good, "--syslog").output == f"ringfence-anchor {vkey(good).name} {note}\n"
    asked = run("anchor", good, "--witness", 7).output.split("\n")
    assert asked[0] == "old 7"
    assert "" in asked[1:8]
    assert (good / layout.CHECKPOINT).read_text() in run("anchor", good, "--witness", 0).output
    assert run("anchor", good, "--witness", 999).exit_code == 3


def test_erase_and_prune(tmp_path: Path) -> None:
    directory = tmp_path / "ledger"
    talk(directory)
    assert run("erase", today(directory), directory).output.startswith("3 files")
    assert "was erased" in run("open", "req-1", directory).output
    someday = run("erase", "someday", directory)
    assert (someday.exit_code, "'someday' is no day, such as 2026-11-21" in someday.output) == (3, True)
    assert run("prune", 10, directory).output == "0 segments removed\n"
    ledger = Ledger.open(settings(directory))
    assert "one ledger has one writer" in run("prune", 10, directory).output
    ledger.close()
    assert run("verify", directory).exit_code == 0
    assert not list((directory / content.DIGESTS).iterdir())


@pytest.mark.parametrize("words", [["verify"], ["show"], ["tail"], ["anchor"], ["prove", 1], ["erase", "2026-01-01"]])
def test_where_no_ledger_lies_it_is_said(tmp_path: Path, words: list[object]) -> None:
    for directory, what in ((tmp_path / "nosuch", "does not exist"), (tmp_path, "has no segments/")):
        done = run(*words, directory)
        assert done.exit_code == 3
        assert f"there is no ledger at {directory} (it {what})" in done.output
    assert not list(tmp_path.iterdir())


def test_a_name_that_no_file_can_have_is_said(tmp_path: Path) -> None:
    done = run("verify", tmp_path / ("x" * 300))
    assert (done.exit_code, "cannot be looked at: File name too long" in done.output) == (3, True)


def test_a_folder_that_is_closed_to_us_is_said(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / layout.SEGMENTS).mkdir(parents=True)
    closed.chmod(0)
    with as_ordinary_user():
        done = run("verify", closed)
    assert (done.exit_code, "cannot be looked at: Permission denied" in done.output) == (3, True)


def test_segments_that_cannot_be_looked_at_are_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / layout.SEGMENTS).symlink_to(layout.SEGMENTS)  # leads to itself: an error for root too
    done = run("verify", tmp_path)
    assert (done.exit_code, "cannot be looked at: Too many levels" in done.output) == (3, True)


def test_a_note_or_key_that_is_none_is_named(good: Path) -> None:
    assert "--note bla: neither SIZE:ROOT" in run("verify", good, "--note", "bla").output
    assert "--vkey bla: neither a file nor a key" in run("verify", good, "--vkey", "bla").output


def test_the_verifier_is_written_as_one_file(tmp_path: Path) -> None:
    assert run("standalone", "--out", tmp_path / "v.pyz").exit_code == 0
    assert (tmp_path / "v.pyz").stat().st_mode & 0o111


def test_what_is_no_file_keeps_its_mode_when_the_verifier_is_written_to_it(tmp_path: Path) -> None:
    """As root /dev/stdout and /dev/null would become everybody's to run, and nobody's to write."""
    os.mkfifo(pipe := tmp_path / "pipe", 0o600)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        assert run("standalone", "--out", pipe).exit_code == 0
        assert reader.communicate()[0].startswith(b"#!")
    assert pipe.stat().st_mode & 0o777 == 0o600
