"""One writer: a command that has the lock for a moment is waited for, and who only looks takes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from router.audit import Ledger, LedgerError
from router.audit import recover as recover_module
from router.audit.format import layout
from router.audit.lock import is_taken, take_lock
from router.cli.audit import audit_app
from router.continuity import Known, keep, kept, run_directory, stated
from router.gate.sealing import enter_directory
from tests.audit.ledgers import WAIT_S, build, fields, settings

HOLDS = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_start_waits_for_a_command_that_has_the_lock_for_a_moment(tmp_path: Path) -> None:
    build(tmp_path)
    held = take_lock(tmp_path / layout.LOCK)
    threading.Timer(0.3, os.close, [held]).start()
    Ledger.open(settings(tmp_path)).close()


def test_a_holder_that_stays_is_named_with_what_to_do(tmp_path: Path) -> None:
    held = take_lock(tmp_path / layout.LOCK)
    with pytest.raises(LedgerError, match=f"by process {os.getpid()}: one ledger has one writer.*start again then"):
        take_lock(tmp_path / layout.LOCK, wait_s=0.05)
    os.close(held)


def test_whether_it_is_taken(tmp_path: Path) -> None:
    """The lock is the file's, so it is seen by whichever process, and not mistaken for one of another file."""
    path, other = tmp_path / layout.LOCK, tmp_path / "other"
    assert not is_taken(path)
    path.touch()
    other.touch()
    assert not is_taken(path)
    with subprocess.Popen(
        [sys.executable, "-I", "-c", HOLDS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert (is_taken(path), is_taken(other)) == (True, False)
        holder.communicate("", timeout=WAIT_S)
    assert not is_taken(path)


def test_whoever_looks_does_not_stop_a_start(tmp_path: Path) -> None:
    build(tmp_path)
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            is_taken(tmp_path / layout.LOCK)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(20):
            Ledger.open(settings(tmp_path)).close()
    finally:
        stop.set()
        looking.join()


def test_nobody_begins_while_an_old_log_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start in that moment comes after the new log and all that knows of the old one, and goes on in it."""
    ledger, waited = tmp_path / "ledger", threading.Event()
    build(ledger)
    run_directory(ledger).mkdir()
    known = stated(ledger)
    assert known is not None
    keep(ledger, known)
    (ledger / layout.CHECKPOINT).unlink()
    real = recover_module._tell
    found: list[Known | None] = []

    def start() -> None:
        Ledger.open(settings(ledger)).close()
        found.append(kept(ledger))

    starting = threading.Thread(target=start)

    def tell(*how: object) -> None:
        starting.start()
        starting.join(0.2)
        assert starting.is_alive(), "it waits"
        with pytest.raises(LedgerError, match="start again once it has ended"):
            enter_directory(str(ledger), known)
        waited.set()
        real(*how)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(recover_module, "_tell", tell)
    done = CliRunner().invoke(audit_app, ["recover", str(ledger), "--accept-loss"])
    starting.join()
    assert (done.exit_code, waited.is_set()) == (0, True), done.output
    assert found[0] is not None
    assert found[0].origin != known.origin, "what is remembered is of the new log by then"
    assert [record["kind"] for record in fields(ledger)].index("recovery_gap") == 2
