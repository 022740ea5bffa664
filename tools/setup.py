"""Build .venv from hash-locked requirements, once; the only thing `make serve` and `make test` need first.

Standard library only: it runs before anything is installed. Everything it writes lies in the checkout
(.venv, .cache). A stage is done again only when its lock file, or the interpreter, has changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache"
PYTHON = VENV / "bin" / "python"
LOCKS = ROOT / "requirements"

NEEDED = {"cc": "gcc", "c++": "g++", "make": "make"}
STAGES: dict[str, tuple[str, ...]] = {"run": ("build", "run"), "dev": ("build", "run", "dev")}


def say(text: str) -> None:
    print(f"[setup] {text}", flush=True)


def missing_tools() -> list[str]:
    """Debian package names of what the build needs and this machine lacks."""
    return [package for command, package in NEEDED.items() if not (shutil.which(command) or shutil.which(package))]


def venv_works() -> bool:
    """Debian splits ensurepip off into python3-venv: without it no environment can be made."""
    probe = subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False)
    return probe.returncode == 0


def require_tools() -> None:
    lacking = missing_tools()
    if not PYTHON.exists() and not venv_works():
        lacking.append("python3-venv")
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs an older one must be told
        sys.exit(f"[setup] Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")
    if lacking:
        names = " ".join(lacking)
        sys.exit(f"[setup] missing: {names}\n[setup] install it with:  sudo apt-get install -y {names}")


def environment() -> dict[str, str]:
    """Keep pip's caches and scratch files in the checkout."""
    scratch = CACHE / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    ours = {"PIP_CACHE_DIR": str(CACHE / "pip"), "TMPDIR": str(scratch), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**os.environ, **ours}  # noqa: TID251 - set-up hands its own environment on to pip


def fingerprint(*files: Path) -> str:
    digest = hashlib.sha256(sys.version.encode() + str(ROOT).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def stage(name: str, mark: str, *commands: list[str]) -> None:
    """Run the commands unless the stage's stamp says that they were run for this very input."""
    stamp = VENV / f".stage-{name}"
    if stamp.exists() and stamp.read_text() == mark:
        return
    say(f"{name} …")
    began = time.monotonic()
    for command in commands:
        if subprocess.run(command, env=environment(), cwd=ROOT, check=False).returncode:
            sys.exit(f"[setup] {name} failed: {' '.join(command)}")
    stamp.write_text(mark)
    say(f"{name} done in {time.monotonic() - began:.0f} s")


def pip(*arguments: str) -> list[str]:
    return [str(PYTHON), "-m", "pip", "install", "--quiet", *arguments]


def main(kind: str) -> None:
    if not PYTHON.exists():
        require_tools()
        say("creating .venv …")
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    for name in STAGES[kind]:
        lock = LOCKS / f"{name}.lock"
        stage(name, fingerprint(lock), pip("--require-hashes", "--only-binary", ":all:", "-r", str(lock)))
    compiled = [str(PYTHON), "-m", "compileall", "-q", "policies", "router", "local_engine"]
    project = pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    stage("project", fingerprint(ROOT / "pyproject.toml"), project, compiled)  # the caged engine writes no .pyc
    build = subprocess.run([str(PYTHON), str(ROOT / "tools" / "build_engine.py")], env=environment(), check=False)
    if build.returncode:
        sys.exit(build.returncode)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "run")
