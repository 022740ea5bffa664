"""For any request bytes, the set of destinations that received a byte is a subset of the list: the real service, whole
and sealed, in an isolated network where every call is answered, watched by the kernel. More examples by hand:
`unshare --net --mount --pid --fork --kill-child --mount-proc python -m tests.prove.anything DIRECTORY 100000`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from router.prove.stage import entering
from tests.prove.test_prove import NEEDS, ROOT
from tests.service import environment

EXAMPLES = 300


def fuzzed(directory: Path, *arguments: str) -> dict[str, Any]:
    command = [*entering(), sys.executable, "-m", "tests.prove.anything", str(directory), str(EXAMPLES), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False, env=environment(),
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@NEEDS
def test_no_bytes_lead_off_the_list(tmp_path: Path) -> None:
    found = fuzzed(tmp_path)
    assert (found["error"], found["leaks"], found["names"]) == ("", [], [])
    assert (found["disagree"], found["lost"], found["sent"]) == (0, 0, EXAMPLES)
    assert (found["alive"], found["stopped"], found["verified"]) == (True, 0, 0), (
        "it serves on, and its ledger is whole"
    )
    assert found["reached"]["upstream first"] > 10_000, "good requests were among them, and answered"
    for line in (tmp_path / "service.log").read_text().splitlines():
        assert line.startswith(("Ringfence listens", "{")), "no library talks past our log"


@NEEDS
def test_bytes_that_do_are_found(tmp_path: Path) -> None:
    found = fuzzed(tmp_path, "leaky")
    assert found["sent"] < EXAMPLES
    assert "q" in found["error"]
    assert len(found["leaks"]) == 1
    assert "198.51.100.7" in found["leaks"][0]
