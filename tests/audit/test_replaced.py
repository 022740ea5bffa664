"""A ledger whose files are put back from an older copy while it is written: its writer notices, and stops."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from router.audit import Kind, Ledger, LedgerError, LedgerUnavailable
from router.audit import home as home_module
from router.audit.format import layout
from router.audit.format.segments import list_segments
from router.audit.prove import prove
from router.audit.recover import diagnose
from router.continuity import Known, keep, kept, lost, parse, run_directory, stated
from router.gate.recorder import Recorder
from router.logs import Log
from router.supervisor.remembering import Remembering
from tests.audit.ledgers import DENIAL, WAIT_S, check, codes, copy, exchange, settings

POLICY = {"digest": "0" * 16}


def whole(ledger: Path, older: Path) -> None:
    """The directory of then in the place of that of now, which lies elsewhere whole."""
    ledger.rename(ledger.with_name("elsewhere"))
    older.rename(ledger)


def segment(ledger: Path, older: Path) -> None:
    """Another file with the same bytes, but its own from here on."""
    path = list_segments(ledger)[-1][1]
    path.rename(older / "moved")
    shutil.copy(older / "moved", path)


def checkpoint(ledger: Path, older: Path) -> None:
    shutil.copy(older / layout.CHECKPOINT, ledger / layout.CHECKPOINT)


def lock(ledger: Path, older: Path) -> None:
    (older / layout.LOCK).rename(ledger / layout.LOCK)


def moved(ledger: Path, older: Path) -> None:
    ledger.rename(older / "moved")


def a_pipe(ledger: Path, _: Path) -> None:
    (ledger / layout.CHECKPOINT).unlink()
    os.mkfifo(ledger / layout.CHECKPOINT)


def no_checkpoint(ledger: Path, _: Path) -> None:
    (ledger / layout.CHECKPOINT).unlink()


def no_lock(ledger: Path, _: Path) -> None:
    (ledger / layout.LOCK).unlink()


def begun(tmp_path: Path) -> tuple[Ledger, Path]:
    """A ledger with a checkpoint over its first records, and a copy from before the next."""
    ledger = Ledger.open(settings(tmp_path / "ledger"))
    exchanges_until_signed(ledger, 1)
    older = copy(tmp_path / "ledger", tmp_path / "older")
    exchanges_until_signed(ledger, ledger.signed + 1)
    return ledger, older


def exchanges_until_signed(ledger: Ledger, size: int) -> None:
    for _ in range(1000):
        if ledger.signed >= size:
            return
        exchange(ledger)
    assert ledger.signed >= size


def exchanges_until_it_ends(ledger: Ledger) -> str:
    with contextlib.suppress(LedgerUnavailable):
        for _ in range(1000):
            exchange(ledger)
    return str(ledger.failure)


@pytest.mark.parametrize("attack", [whole, segment, checkpoint, lock, moved, a_pipe, no_checkpoint, no_lock])
def test_the_next_checkpoint_notices(tmp_path: Path, attack: Callable[[Path, Path], None]) -> None:
    ledger, older = begun(tmp_path)
    attack(tmp_path / "ledger", older)
    failure = exchanges_until_it_ends(ledger)
    assert "is not what this process left there: somebody removed it or put another copy in its place" in failure
    assert str(tmp_path / "ledger") in failure
    assert ledger.close() == failure


@pytest.mark.parametrize(("attack", "name"), [(no_lock, layout.LOCK), (no_checkpoint, layout.CHECKPOINT)])
def test_the_file_that_is_gone_is_named(tmp_path: Path, attack: Callable[[Path, Path], None], name: str) -> None:
    ledger, older = begun(tmp_path)
    attack(tmp_path / "ledger", older)
    assert f"{tmp_path / 'ledger' / name} is not what" in exchanges_until_it_ends(ledger)
    ledger.close()


def test_another_name_for_the_checkpoint_file_is_no_change(tmp_path: Path) -> None:
    """A backup that makes hard links: neither the writer nor the next start minds, since the note is what it was."""
    ledger, older = begun(tmp_path)
    for at, begun_again in enumerate((False, True)):
        os.link(tmp_path / "ledger" / layout.CHECKPOINT, older / f"backup-{at}")
        if begun_again:
            ledger = Ledger.open(settings(tmp_path / "ledger"))
        exchanges_until_signed(ledger, ledger.signed + 1)
        assert ledger.close() is None
    os.link(tmp_path / "ledger" / layout.CHECKPOINT, older / "backup")
    assert prove(tmp_path / "ledger", 0).index == 0
    assert diagnose(tmp_path / "ledger").trouble == ""
    (older / "backup").unlink()
    assert codes(check(tmp_path / "ledger")) == []


def test_another_name_for_the_open_segment_is_told_as_that(tmp_path: Path) -> None:
    ledger, older = begun(tmp_path)
    os.link(list_segments(tmp_path / "ledger")[-1][1], older / "backup")
    assert "2 names (hard links)" in exchanges_until_it_ends(ledger)
    ledger.close()


def test_so_does_an_orderly_end_and_the_gate_tells_of_it(tmp_path: Path) -> None:
    told: list[str] = []

    async def run() -> None:
        ledger, older = begun(tmp_path)
        recorder = Recorder(ledger, told.append)
        assert parse(recorder.known_text) == Known(ledger.origin, ledger.signed)
        whole(tmp_path / "ledger", older)
        recorder.close()

    asyncio.run(run())
    assert len(told) == 1
    assert "put another copy in its place" in told[0]


def test_a_checkpoint_file_whose_replacement_failed_half_way_is_still_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renamed, but the folder could not be opened to sync it: the next attempt finds its own words there."""
    real, failed = home_module.sync_directory, threading.Event()

    def short_once(path: Path) -> None:
        if not failed.is_set():
            failed.set()
            raise OSError(errno.EMFILE, "Too many open files")
        real(path)

    ledger = Ledger.open(settings(tmp_path, checkpoint_pause_s=0.01))
    monkeypatch.setattr(home_module, "sync_directory", short_once)
    for _ in range(6):
        ledger.append(Kind.POLICY, POLICY)
    assert failed.wait(WAIT_S)
    for _ in range(3000):
        if ledger.signed:
            break
        threading.Event().wait(0.01)
    ledger.append(Kind.DENIAL, DENIAL).wait(WAIT_S)
    assert ledger.close() is None
    assert codes(check(tmp_path)) == []


def test_how_far_it_was_is_known_without_its_files(tmp_path: Path) -> None:
    """The gate says it with every pong: what is put back meanwhile is older, also when no gate stops in order."""
    directory = tmp_path / "ledger"
    ledger, older = begun(tmp_path)
    now = Known(ledger.origin, ledger.signed)
    ledger.close()
    run_directory(directory).mkdir()
    shutil.rmtree(directory)
    older.rename(directory)
    remembering = Remembering(directory, Log("supervisor"))
    remembering.learn()
    assert kept(directory) == stated(directory)
    for told in (now.text, "", "nonsense", f"another/audit/{'0a' * 16}\n999\n", Known(now.origin, 1).text):
        remembering.hear(told)
    assert parse(remembering.options()[-1]) == now
    remembering.keep()
    assert kept(directory) == now
    missed = lost(directory, kept(directory))
    assert missed is not None
    assert "an older state of it lies there" in missed.text


def test_what_is_kept_beside_it_is_on_the_disk_by_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's bytes first, then its name: a rename that is not synced may be lost with the power."""
    synced: list[Path] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    beside = run_directory(tmp_path / "ledger")
    beside.mkdir()
    monkeypatch.setattr(os, "fsync", fsync)
    keep(tmp_path / "ledger", Known(f"x/audit/{'0a' * 16}", 7))
    assert synced == [beside / "ledger-checkpoint.new", beside]


@pytest.mark.parametrize("name", [layout.CHECKPOINT, layout.VKEY, layout.SIGNING_KEY, layout.REVIEWER_PUBLIC])
@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.write_bytes(b"\xff\xfe\n")], ids=["a pipe", "no text"])
def test_a_start_is_refused_by_what_is_no_file_of_ours(
    tmp_path: Path, name: str, put: Callable[[Path], object]
) -> None:
    """It neither waits at a pipe for ever nor ends in a traceback."""
    Ledger.open(settings(tmp_path)).close()
    (tmp_path / name).unlink()
    put(tmp_path / name)
    with pytest.raises(LedgerError, match=name.replace(".", r"\.")):
        Ledger.open(settings(tmp_path))


def test_a_key_may_be_a_link_to_where_secrets_are_kept(tmp_path: Path) -> None:
    directory = tmp_path / "ledger"
    Ledger.open(settings(directory)).close()
    (directory / layout.SIGNING_KEY).rename(tmp_path / "secret")
    (directory / layout.SIGNING_KEY).symlink_to(tmp_path / "secret")
    (directory / layout.REVIEWER_PUBLIC).rename(tmp_path / "public")
    (directory / layout.REVIEWER_PUBLIC).symlink_to(tmp_path / "public")
    assert diagnose(directory).trouble == ""
    Ledger.open(settings(directory)).close()


def test_a_pipe_where_a_file_is_to_be_made_is_not_written_to(tmp_path: Path) -> None:
    """Opening it would wait for a reader for ever."""
    aside = tmp_path / "checkpoint.new"
    os.mkfifo(aside)
    home_module.write_new(tmp_path / "checkpoint", b"text")
    assert ((tmp_path / "checkpoint").read_bytes(), aside.exists()) == (b"text", False)
