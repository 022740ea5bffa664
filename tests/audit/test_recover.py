"""`ringfence audit recover`: the operator is told, nothing is lost without their word, and the new log tells of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from router.audit import Ledger, LedgerError
from router.audit.format import layout
from router.audit.format.segments import list_segments
from router.cli.audit import audit_app
from tests.audit.ledgers import build, check, codes, copy, fields, settings


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("good") / "ledger", exchanges=20, segment_bytes=4000)


def run(*words: object) -> Result:
    return CliRunner().invoke(audit_app, [str(word) for word in words])


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def cut(directory: Path) -> None:
    segment = list_segments(directory)[-1][1]
    segment.write_bytes(segment.read_bytes()[:900])


def alter(directory: Path) -> None:
    segment = list_segments(directory)[-1][1]
    segment.write_bytes(segment.read_bytes().replace(b"gpu-1", b"gpu-2", 1))


def alter_early(directory: Path) -> None:
    segment = list_segments(directory)[0][1]
    segment.write_bytes(segment.read_bytes().replace(b"gpu-1", b"gpu-2", 1))


def lose_a_segment(directory: Path) -> None:
    list_segments(directory)[1][1].unlink()


def lose(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def unreadable(directory: Path) -> None:
    segment = list_segments(directory)[-1][1]
    segment.rename(directory / "elsewhere")
    segment.symlink_to("../elsewhere")


TROUBLES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a cut tail": (cut, "it was cut"),
    "an altered record": (alter, "was altered"),
    "an altered old record": (alter_early, "are not those that were signed for"),
    "a lost checkpoint": (lose(layout.CHECKPOINT), "nobody can say how long the ledger was"),
    "a lost signing key": (lose(layout.SIGNING_KEY), "cannot be used"),
    "a lost public key": (lose(layout.VKEY), "log.vkey"),
    "a link for a segment": (unreadable, "cannot be read"),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_a_refused_start_names_its_way_out(good: Path, tmp_path: Path, name: str) -> None:
    trouble, says = TROUBLES[name]
    directory = copy(good, tmp_path / "ledger")
    trouble(directory)
    for path in (directory / layout.TILES).rglob("*"):
        if path.is_file():
            path.unlink()  # so that altered leaves show
    before = files(directory)
    with pytest.raises(LedgerError) as refused:
        Ledger.open(settings(directory))
    assert f"ringfence audit recover {directory} --accept-loss" in str(refused.value)

    looked = run("recover", directory)
    assert looked.exit_code == 1
    assert says in looked.output
    assert f"ringfence audit recover {directory} --accept-loss" in looked.output
    assert files(directory) | {layout.LOCK: b""} == before | {layout.LOCK: b""}, "looking changes nothing"

    done = run("recover", directory, "--accept-loss", "--reason", "disk_died")
    assert done.exit_code == 0, done.output
    [aside] = (path for path in (directory / layout.QUARANTINE).iterdir() if path.is_dir())
    kept = files(aside)
    assert all(kept[path] == data for path, data in before.items() if path.startswith((layout.SEGMENTS, "log")))
    [gap] = [record["body"] for record in fields(directory) if record["kind"] == "recovery_gap"]
    assert (gap["reason"], gap["quarantine"]) == ("disk_died", aside.name)
    assert (gap["signed"] > 0, "log" in gap) == ((True, True) if "checkpoint" not in name else (False, False))
    report = check(directory)
    assert (codes(report), report.exit_code()) == (["gap"], 2)
    assert "was given up (disk_died)" in report.text()
    Ledger.open(settings(directory)).close()
    assert run("recover", directory).output.endswith("there is nothing to recover\n")


def test_a_sound_ledger_is_left_alone(good: Path, tmp_path: Path) -> None:
    directory = copy(good, tmp_path / "ledger")
    with list_segments(directory)[-1][1].open("ab") as file:
        file.write(b'{"torn')
    before = files(directory)
    done = run("recover", directory, "--accept-loss")
    assert (done.exit_code, "nothing to recover" in done.output) == (0, True)
    assert files(directory) | {layout.LOCK: b""} == before | {layout.LOCK: b""}


def test_a_segment_that_was_begun_and_not_written_is_left_alone(good: Path, tmp_path: Path) -> None:
    """A start would remove it; asking what is wrong removes nothing."""
    directory = copy(good, tmp_path / "ledger")
    empty = directory / layout.SEGMENTS / layout.segment_name(len(fields(directory)))
    empty.touch()
    assert "nothing to recover" in run("recover", directory).output
    assert empty.exists()


def test_how_much_is_left_is_told(good: Path, tmp_path: Path) -> None:
    directory = copy(good, tmp_path / "ledger")
    firsts = [first for first, _ in list_segments(directory)]
    lose_a_segment(directory)
    alter(directory)
    run("recover", directory, "--accept-loss")
    [gap] = [record["body"] for record in fields(directory) if record["kind"] == "recovery_gap"]
    assert gap["lost_from"] == firsts[1]


def test_a_ledger_in_use_is_not_touched(tmp_path: Path) -> None:
    directory = tmp_path / "ledger"
    ledger = Ledger.open(settings(directory))
    done = run("recover", directory, "--accept-loss")
    ledger.close()
    assert (done.exit_code, "one ledger has one writer" in done.output) == (3, True)


def test_a_new_log_is_no_help_against_a_wrong_reviewers_key(good: Path, tmp_path: Path) -> None:
    directory = copy(good, tmp_path / "ledger")
    cut(directory)
    (directory / layout.REVIEWER_PUBLIC).write_text("nonsense")
    done = run("recover", directory, "--accept-loss")
    assert (done.exit_code, "put the reviewer's public key back" in done.output) == (3, True)
    assert not (directory / layout.QUARANTINE).exists()


def test_with_unreadable_segments_nothing_is_known_of_the_rest(good: Path, tmp_path: Path) -> None:
    directory = copy(good, tmp_path / "ledger")
    first = list_segments(directory)[0][1]
    first.rename(directory / "elsewhere")
    first.symlink_to("../elsewhere")
    (directory / layout.CHECKPOINT).unlink()
    assert run("recover", directory, "--accept-loss").exit_code == 0


def test_what_cannot_be_moved_is_told(good: Path, tmp_path: Path) -> None:
    directory = copy(good, tmp_path / "ledger")
    cut(directory)
    (directory / layout.QUARANTINE).write_text("in the way")
    done = run("recover", directory, "--accept-loss")
    assert (done.exit_code, "could not be set aside" in done.output) == (3, True)
