"""Coverage-guided fuzzing (atheris) of what reads strangers' bytes: `python tools/fuzz.py [TARGET] [SECONDS]`.

The fuzzer lives in .cache/fuzz, hash-locked and apart from .venv, whose packages it borrows. What it finds lies beside
it, and is where the next run goes on. Exit 0: nothing was found wrong; else the input and the error are shown. Targets
are in tests/fuzz/targets.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = ROOT / ".cache" / "fuzz"
LOCK = ROOT / "requirements" / "fuzz.lock"
SECONDS = 60


def fuzzer() -> Path:
    """A Python of the same version with atheris, made once for each state of the lock."""
    home = SCRATCH / "environment"
    python, stamp = home / "bin" / "python", home / ".lock"
    if not stamp.exists() or stamp.read_text() != LOCK.read_text():
        venv.create(home, with_pip=True, clear=True)
        command = [
            str(python),
            "-m",
            "pip",
            "install",
            "-q",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "-r",
            str(LOCK),
        ]
        if subprocess.run(command, check=False).returncode:
            sys.exit("[fuzz] atheris cannot be had here (it is built for Linux on x86-64): nothing was fuzzed")
        stamp.write_text(LOCK.read_text())
    return python


def main() -> int:
    """The fuzzer's exit code."""
    target = sys.argv[1] if len(sys.argv) > 1 else "service"
    seconds = sys.argv[2] if len(sys.argv) > 2 else str(SECONDS)
    corpus = SCRATCH / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    packages = next((ROOT / ".venv" / "lib").glob("python*/site-packages"))
    search = os.pathsep.join((str(ROOT), str(packages)))
    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", f"-artifact_prefix={SCRATCH}/"]
    command = [str(fuzzer()), "-m", "tests.fuzz.guided", target, *limits, str(corpus)]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": search, "LANG": "C.UTF-8"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
