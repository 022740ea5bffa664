"""Faults of the disk and death at every system call, with strace as the hand of fate.

One run is traced to learn which calls it makes; then each call, in turn, fails or is the process's last. Whatever
happens: every acknowledged record is there afterwards, the next start is not blocked, and nothing is found altered.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from router.audit import Ledger
from router.audit.format.segments import list_segments
from tests.audit.ledgers import check, codes, copy, crashed, fields, settings

EXCHANGES = 4
FAULTS = {
    "write": ("error=EIO", "error=ENOSPC", "error=EINTR", "signal=KILL"),
    "fdatasync": ("error=EIO", "error=ENOSPC", "error=EINTR", "signal=KILL"),
    "fsync": ("error=EIO", "signal=KILL"),
    "rename": ("error=EIO", "error=ENOSPC", "signal=KILL"),
    "ftruncate": ("error=EIO", "signal=KILL"),
    "fallocate": ("error=ENOSPC", "signal=KILL"),
    "mkdir": ("error=ENOSPC", "signal=KILL"),
}
KILLED = {-signal.SIGKILL, 128 + signal.SIGKILL}
# A fault at the start is refused with a sentence (3), a later one ends the ledger (4); at the last words only the
# thread that closes hears of it (0). A full disk has its reserve (0), an interrupted call is made again (0).
EXPECTED = {"error=EIO": {0, 3, 4}, "error=ENOSPC": {0, 3, 4}, "error=EINTR": {0}, "signal=KILL": KILLED}
COMMAND = [sys.executable, "-B", "-m", "tests.audit.writer_process"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing: apt-get install strace"),
]


def left_torn(directory: Path) -> Path:
    """A ledger after a crash with an open exchange and a torn last line, so that the start has work to do."""
    crashed(directory, exchanges=2)
    with list_segments(directory)[-1][1].open("ab") as file:
        file.write(b'{"v":1,"log":')
    return directory


def strace(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["strace", "-f", "-qq", *options, *COMMAND, str(directory), str(EXCHANGES)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def instances(tmp_path: Path) -> dict[str, int]:
    """How often a thread makes each call: strace counts them by thread."""
    log = tmp_path / "trace"
    left_torn(tmp_path / "traced")
    done = strace(tmp_path / "traced", "-o", str(log), "-e", f"trace={','.join(FAULTS)}")
    if "ptrace" in done.stderr:
        pytest.skip("this machine does not allow tracing")
    assert done.returncode == 0, done.stderr
    calls = Counter(match.groups() for match in re.finditer(r"^(\d+) +(\w+)\(", log.read_text(), re.MULTILINE))
    return {call: max((n for (_, name), n in calls.items() if name == call), default=0) for call in FAULTS}


def acknowledged(output: str) -> list[int]:
    return [int(line) for line in output.splitlines() if line.isdigit()]


def assert_sound(directory: Path, said: list[int], what: str) -> None:
    Ledger.open(settings(directory)).close()
    written = {record["i"]: record["kind"] for record in fields(directory)}
    assert all(written.get(index) == "decision" for index in said), what
    report = check(directory)
    assert set(codes(report)) <= {"gap"}, (what, report.text())


@pytest.mark.parametrize("call", FAULTS)
def test_every_call_may_fail_or_be_the_last(tmp_path: Path, call: str) -> None:
    count = instances(tmp_path)[call]
    assert count > 0
    torn = left_torn(tmp_path / "torn")
    for number in range(1, count + 1):
        for fault in FAULTS[call]:
            directory = copy(torn, tmp_path / f"{number}-{fault}")
            done = strace(directory, "-o", "/dev/null", "-e", f"inject={call}:{fault}:when={number}")
            what = f"{call} {number} {fault}: {done.stdout} {done.stderr}"
            assert done.returncode in EXPECTED[fault], what
            assert_sound(directory, acknowledged(done.stdout), what)
            shutil.rmtree(directory)


def test_a_first_start_may_die_anywhere(tmp_path: Path) -> None:
    """Before there is a record there are keys to make: any half of that is made good by the next start."""
    for call in ("rename", "fsync", "write"):
        for number in range(1, 9):
            directory = tmp_path / f"{call}-{number}"
            done = strace(directory, "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={number}")
            assert_sound(directory, acknowledged(done.stdout), f"{call} {number}")


def test_killed_under_load_again_and_again(tmp_path: Path) -> None:
    """SIGKILL at moments that nobody chose; one ledger through ten lives."""
    said: list[int] = []
    for life in range(10):
        with subprocess.Popen([*COMMAND, str(tmp_path), "100000"], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            time.sleep(0.01 * life)
            os.kill(process.pid, signal.SIGKILL)
            said += acknowledged((first + process.stdout.read()).decode())
    assert len(said) > 10
    assert_sound(tmp_path, said, "killed under load")
