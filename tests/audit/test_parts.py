"""Segments checked each by itself and joined: the same report as in one pass, or none."""

from __future__ import annotations

import argparse
import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from router.audit import Kind, Ledger
from router.audit.codec import CODEC
from router.audit.format import layout
from router.audit.format.layout import segment_name
from router.audit.format.segments import list_segments
from router.audit.verify import processes
from router.audit.verify.__main__ import main
from router.audit.verify.check import verify
from router.audit.verify.findings import MOST_FINDINGS, CannotVerifyError, Report
from router.audit.verify.keys import Keys
from router.audit.verify.parts import Part, Task, examine, verify_parts
from router.audit.verify.processes import cores, verify_with
from tests.audit.attacker import Forger, steal
from tests.audit.ledgers import (
    DECISION,
    DENIAL,
    WAIT_S,
    agreed,
    all_keys,
    build,
    codes,
    copy,
    crashed,
    exchange,
    settings,
)

PYTEST = os.getpid()
SMALL = 4000  # bytes of a segment: a few records


def written(directory: Path, *, exchanges: int = 30, runs: int = 2, long: bool = True) -> Path:
    """Several processes and segments; an exchange that goes over the border of segments, if `long`."""
    for _ in range(runs):
        ledger = Ledger.open(settings(directory, segment_bytes=SMALL))
        under_way = ledger.append(Kind.DECISION, DECISION).index if long else -1
        for _ in range(exchanges):
            exchange(ledger)
        if long:
            ledger.append(Kind.OUTCOME, {"decision": under_way, "ending": "completed"}).wait(WAIT_S)
        ledger.close()
    assert len(list_segments(directory)) > 3
    return directory


def joined(directory: Path, keys: Keys | None = None) -> Report | None:
    """Whatever comes of it, no file is left."""
    with tempfile.TemporaryDirectory() as scratch:
        report = verify_parts(directory, keys or all_keys(directory), CODEC, partial(map, examine), Path(scratch))
        assert report is None or not list(Path(scratch).iterdir())
        return report


@pytest.mark.parametrize("block", [8192, 3, 1])
def test_parts_say_what_the_whole_says(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.audit.verify.leaves.BLOCK", block)
    directory = written(tmp_path)
    keys = all_keys(directory)
    for known in (keys, replace(keys, reviewer=None, pinned=False)):
        report = joined(directory, known)
        assert report == verify(directory, known, CODEC)
        assert report.exit_code() == 0


def test_what_no_one_did_is_told_of_parts_too(tmp_path: Path) -> None:
    """A crash, with an exchange under way and a torn tail: notes and gaps, in the same order."""
    directory = crashed(tmp_path / "died", exchanges=30, segment_bytes=SMALL)
    _, newest = list_segments(directory)[-1]
    with newest.open("ab") as file:
        file.write(b'{"v":1,')
    torn = joined(directory)
    assert torn == verify(directory, all_keys(directory), CODEC)
    assert codes(torn) == ["torn"]
    written(directory, runs=1)
    after = joined(directory)
    assert after == verify(directory, all_keys(directory), CODEC)
    assert codes(after) == ["gap"]
    assert "crash" in [finding.code for finding in after.findings]


def test_a_pruned_log_is_joined_to_what_stands_in_for_its_beginning(tmp_path: Path) -> None:
    directory = written(tmp_path)
    ledger = Ledger.open(settings(directory, segment_bytes=SMALL))
    ledger.prune(list_segments(directory)[2][0], "retention")
    ledger.close()
    report = joined(directory)
    assert report == verify(directory, all_keys(directory), CODEC)
    assert report.first > 0
    assert codes(report) == []


def silent(directory: Path) -> None:
    """Half a day between two records in the middle of a segment whose process began in another."""
    forger = Forger(directory, steal(directory, mac_at=0, signing=True))
    for record in forger.records[-30:]:
        record["mono"] += 43_200_000_000
        record["t"] += 43_200_000_000
    forger.rebuild()


def orphaned(directory: Path) -> None:
    """An outcome is given twice, once in a later segment."""
    forger = Forger(directory, steal(directory, mac_at=0, signing=True))
    outcomes = [record for record in forger.records if record["kind"] == "outcome"]
    outcomes[-1]["body"]["decision"] = outcomes[0]["body"]["decision"]
    forger.rebuild()


def swapped(directory: Path) -> None:
    one, other = (path for _, path in list_segments(directory)[1:3])
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def emptied(directory: Path) -> None:
    list_segments(directory)[2][1].write_bytes(b"")


def missing(directory: Path) -> None:
    list_segments(directory)[2][1].unlink()


def altered(directory: Path) -> None:
    _, path = list_segments(directory)[2]
    path.write_bytes(path.read_bytes().replace(b"alice", b"alicf", 1))


def beheaded(directory: Path) -> None:
    _, path = list_segments(directory)[2]
    path.write_bytes(path.read_bytes().partition(b"\n")[2])


def no_record(directory: Path) -> None:
    _, path = list_segments(directory)[2]
    path.write_bytes(b"\xff" + path.read_bytes())


def foreign(directory: Path) -> None:
    """A segment holds a line of another log."""
    _, path = list_segments(directory)[2]
    line = path.read_bytes().partition(b"\n")[0]
    log = line.split(b'"', 6)[5]
    path.write_bytes(line.replace(log, b"00" * 16) + b"\n")


WRONG = [silent, orphaned, swapped, emptied, missing, altered, beheaded, no_record, foreign]


@pytest.mark.parametrize("attack", WRONG)
def test_of_anything_wrong_parts_say_nothing(tmp_path: Path, attack: Callable[[Path], None]) -> None:
    directory = written(tmp_path, exchanges=40, runs=1)
    attack(directory)
    assert joined(directory) is None
    assert codes(verify(directory, all_keys(directory), CODEC))


def test_a_segment_that_goes_on_with_a_key_was_not_made_by_the_writer(tmp_path: Path) -> None:
    """Somebody has cut one file in two: each record is where it was, but once those before are pruned, its key is."""
    directory = written(tmp_path, runs=1)
    first, path = list_segments(directory)[-1]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]))
    path.with_name(segment_name(first + 3)).write_bytes(b"".join(lines[3:]))
    assert joined(directory) is None
    assert codes(agreed(directory)) == ["segment"]


@pytest.mark.parametrize(("epochs", "found"), [((0, 1), ["epoch"]), ((1, 1), ["epoch"]), ((1, 2), [])])
def test_each_key_begins_an_epoch_and_the_first_is_one(
    tmp_path: Path, epochs: tuple[int, int], found: list[str]
) -> None:
    """Whoever holds the signing key can sign for any number."""
    directory = build(tmp_path, runs=2, exchanges=1)
    forger = Forger(directory, steal(directory, signing=True))
    for record in forger.records:
        record["epoch"] = epochs[record["epoch"] - 1]
    forger.rebuild()
    assert codes(agreed(directory, replace(all_keys(directory), reviewer=None))) == found


def other_epoch(part: Part) -> Part:
    return part._replace(opening=part.opening._replace(epoch=part.opening.epoch + 1))


def other_tree(part: Part) -> Part:
    roots = [(at, replace(stated, root=bytes(32))) for at, stated in part.checkpoints]
    return part._replace(checkpoints=roots)


def outcome_of_nothing(part: Part) -> Part:
    return part._replace(chapter=part.chapter._replace(earlier=[part.opening.first]))


def long_silence(part: Part) -> Part:
    return part._replace(chapter=part.chapter._replace(gap_us=1 << 60))


@pytest.mark.parametrize("change", [other_epoch, other_tree, outcome_of_nothing, long_silence])
def test_a_part_that_does_not_continue_what_was_before_is_not_joined(
    tmp_path: Path, change: Callable[[Part], Part]
) -> None:
    directory = written(tmp_path, runs=1)

    def run(tasks: Iterable[Task]) -> Iterator[Part | None]:
        for part in map(examine, tasks):
            assert part is not None
            yield change(part)

    (tmp_path / "scratch").mkdir()
    assert verify_parts(directory, all_keys(directory), CODEC, run, tmp_path / "scratch") is None


def test_findings_that_were_only_counted_are_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = written(tmp_path)
    other = all_keys(written(tmp_path / "other", runs=1))
    foreign = replace(all_keys(directory), reviewer=other.reviewer)
    monkeypatch.setattr("router.audit.verify.findings.MOST_FINDINGS", 2)
    report = joined(directory, foreign)
    assert report == verify(directory, foreign, CODEC)
    assert sum(report.counts.values()) > len(report.findings) == 2 < MOST_FINDINGS


def test_processes_say_the_same(tmp_path: Path) -> None:
    directory = written(tmp_path)
    keys = all_keys(directory)
    wanted = verify(directory, keys, CODEC)
    assert [verify_with(directory, keys, CODEC, jobs) for jobs in (1, 2)] == [wanted] * 2
    altered(copy(directory, tmp_path / "altered"))
    assert verify_with(tmp_path / "altered", keys, CODEC, 2).exit_code() == 1
    assert cores() > 0


def killed(_: Task) -> Part | None:
    assert os.getppid() == PYTEST
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_process_that_is_killed_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = written(tmp_path)
    monkeypatch.setattr(processes, "examine", killed)
    assert verify_with(directory, all_keys(directory), CODEC, 2) == verify(directory, all_keys(directory), CODEC)


def test_an_interruption_ends_all_without_a_word(tmp_path: Path) -> None:
    directory = written(tmp_path, runs=1)
    script = f"""
import os, pathlib, signal, sys
from router.audit.verify import processes
from router.audit.verify.keys import load_keys
from router.audit.verify.lines import STANDARD
def interrupted(task):
    if task.first == 0:
        os.kill(os.getppid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
processes.examine = interrupted
signal.signal(signal.SIGINT, signal.default_int_handler)
directory = pathlib.Path({str(directory)!r})
try:
    processes.verify_with(directory, load_keys(directory, None, None, ()), STANDARD, 2)
except KeyboardInterrupt:
    sys.exit(5)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (5, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_of_the_first_alone_ends_the_others(number: signal.Signals, tmp_path: Path) -> None:
    """As by `kill -INT`, or a job's time limit: nobody waits until they have read their segments."""
    directory = written(tmp_path, runs=1)
    (pids := tmp_path / "pids").mkdir()
    script = f"""
import os, pathlib, signal, sys, time
from router.audit.verify import processes
from router.audit.verify.__main__ import main
def slow(task):
    pathlib.Path({str(pids)!r}, str(os.getpid())).touch()
    time.sleep(600)
processes.examine = slow
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["verify", {str(directory)!r}, "--jobs", "2"]
sys.exit(main())
"""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    first = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, env={"TMPDIR": str(scratch)})
    with first:
        wait_until(lambda: len(list(pids.iterdir())) == 2)
        assert len(list(scratch.iterdir())) == 1
        first.send_signal(number)
        _, said = first.communicate(timeout=WAIT_S)
    assert (first.returncode, said) == (128 + number, b"")
    assert all(is_gone(int(path.name)) for path in pids.iterdir())
    assert list(scratch.iterdir()) == []


def test_an_interruption_ends_the_stand_alone_program_as_a_shell_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_options: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("router.audit.verify.__main__.run", interrupted)
    monkeypatch.setattr("sys.argv", ["ringfence-verify", "."])
    assert main() == 128 + signal.SIGINT


def test_in_another_thread_it_is_the_same(tmp_path: Path) -> None:
    """Where no signal can be heard."""
    directory, before = written(tmp_path, runs=1), signal.getsignal(signal.SIGTERM)
    found: list[Report] = []
    thread = threading.Thread(target=lambda: found.append(verify_with(directory, all_keys(directory), CODEC, 2)))
    thread.start()
    thread.join(WAIT_S)
    assert found == [verify(directory, all_keys(directory), CODEC)]
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_is_heard_meanwhile_unless_somebody_else_hears_it() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as told, processes._told_to_end():
            signal.raise_signal(signal.SIGTERM)
        assert (told.value.code, signal.getsignal(signal.SIGTERM)) == (143, signal.SIG_DFL)
        heard: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
        with processes._told_to_end():
            signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_without_a_place_for_files_it_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = written(tmp_path, runs=1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nothing"))
    assert verify_with(directory, all_keys(directory), CODEC, 2) == verify(directory, all_keys(directory), CODEC)


def test_what_goes_from_process_to_process_does_not_grow_with_the_segment(tmp_path: Path) -> None:
    sizes = []
    for exchanges in (50, 500):
        ledger = Ledger.open(settings(tmp_path / str(exchanges), checkpoint_every=1 << 20))
        for _ in range(exchanges):
            exchange(ledger)
        ledger.close()
        [(first, path)] = list_segments(tmp_path / str(exchanges))
        keys = all_keys(tmp_path / str(exchanges))
        part = examine(Task(tmp_path, layout.log_of(keys.vkey.name), keys.vkey, None, CODEC, first, path, tmp_path))
        assert part is not None
        assert part.leaves.size == len(path.read_bytes().splitlines())
        assert part.leaves.path.stat().st_size == 32 * part.leaves.size
        assert [len(block) for block in part.leaves.blocks()] == [part.leaves.size]
        sizes.append(len(pickle.dumps(part)))
    assert max(sizes) - min(sizes) < 200


def short_of(error: Exception, after: int = 0) -> Callable[..., int]:
    """os.fork, or a semaphore, that fails with `error` after so many times."""
    done, fork = [0], os.fork

    def run(*_: object, **__: object) -> int:
        done[0] += 1
        if done[0] > after:
            raise error
        return fork()

    return run


@pytest.mark.parametrize("first", [0, 1])
def test_a_process_that_cannot_be_begun_costs_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """Want of processes or memory: those that were begun do not wait for ever, nor anyone for them."""
    directory = written(tmp_path, runs=1)
    before = multiprocessing.active_children()
    monkeypatch.setattr(os, "fork", short_of(BlockingIOError(errno.EAGAIN, "no more processes"), first))
    assert verify_with(directory, all_keys(directory), CODEC, 2) == verify(directory, all_keys(directory), CODEC)
    assert multiprocessing.active_children() == before


@pytest.mark.parametrize("error", [OSError(errno.ENOSYS, "no semaphores"), NotImplementedError(), MemoryError()])
def test_a_system_that_has_no_pools_verifies_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    directory = written(tmp_path, runs=1)
    monkeypatch.setattr(processes, "ProcessPoolExecutor", short_of(error))
    assert verify_with(directory, all_keys(directory), CODEC, 2) == verify(directory, all_keys(directory), CODEC)


def test_no_process_outlives_the_first(tmp_path: Path) -> None:
    directory = written(tmp_path, runs=1)
    pids = tmp_path / "pids"
    pids.mkdir()
    script = f"""
import os, pathlib, signal, time
from router.audit.verify import processes
from router.audit.verify.keys import load_keys
from router.audit.verify.lines import STANDARD
def slow(task):
    pathlib.Path({str(pids)!r}, str(os.getpid())).touch()
    time.sleep(600)
processes.examine = slow
directory = pathlib.Path({str(directory)!r})
processes.verify_with(directory, load_keys(directory, None, None, ()), STANDARD, 2)
"""
    first = subprocess.Popen([sys.executable, "-c", script])
    wait_until(lambda: len(list(pids.iterdir())) == 2)
    first.kill()
    first.wait(WAIT_S)
    for path in pids.iterdir():
        wait_until(partial(is_gone, int(path.name)))
    processes.end_with_parent()  # nobody's child goes on


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def is_gone(pid: int) -> bool:
    """Or a zombie, where nobody reaps."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_where_no_process_can_be_forked_one_does_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = written(tmp_path)
    monkeypatch.setattr(processes, "FORK", "none")
    assert verify_with(directory, all_keys(directory), CODEC, 2).exit_code() == 0


def test_a_ledger_without_segments_is_verified_as_ever(tmp_path: Path) -> None:
    directory = written(tmp_path)
    keys = all_keys(directory)
    for _, path in list_segments(directory):
        path.unlink()
    assert verify_with(directory, keys, CODEC, 2) == verify(directory, keys, CODEC)
    (directory / "segments").rmdir()
    with pytest.raises(CannotVerifyError):
        verify_with(directory, keys, CODEC, 2)


def test_more_than_is_remembered_is_left_to_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = written(tmp_path)
    assert joined(directory) is not None
    with monkeypatch.context() as patch:
        patch.setattr("router.audit.verify.story.MOST_OPEN", 3)
        assert joined(directory) is None
    ledger = Ledger.open(settings(directory, segment_bytes=SMALL))
    ledger.append(Kind.DENIAL, DENIAL)
    ledger.digest("alice", b"text")
    ledger.close()
    assert joined(directory) is not None
    monkeypatch.setattr("router.audit.verify.sealed.MOST_KEYS", 1)
    assert joined(directory) is None


@pytest.mark.parametrize("days", [-719_162, -719_163, 2_932_896, 2_932_897])
def test_a_text_of_the_calendars_ends_is_missing_like_any_other(tmp_path: Path, days: int) -> None:
    """There is no day before the first, nor after the last."""
    directory = build(tmp_path, exchanges=1)
    forger = Forger(directory, steal(directory, mac_at=0, signing=True))
    decision = next(record for record in forger.records if record["kind"] == "decision")
    decision["t"], decision["body"]["capture"] = days * 86_400_000_000, "ab" * 32
    forger.rebuild()
    assert "sealed" in codes(agreed(directory))
