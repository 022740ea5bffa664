"""Build .venv from hash-locked requirements, once; the only thing `make serve` and `make test` need first.

Standard library only: it runs before anything is installed. Everything it writes lies in the checkout
(.venv, .cache). A stage is done again only when its lock file, or .venv's interpreter, has changed.
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
OLDEST, NEWEST = (3, 11), (3, 14)  # that the locks have wheels for
CHEAPER = (14, 13)  # minor versions that are tested, and may serve with less CPU than older ones (docs/performance.md)

NEEDED = {"cc": "gcc", "c++": "g++", "make": "make"}
STAGES: dict[str, tuple[str, ...]] = {"run": ("build", "run"), "dev": ("build", "run", "dev")}


def say(text: str) -> None:
    print(f"[setup] {text}", flush=True)


def missing_tools() -> list[str]:
    """Debian package names of what the build needs and this machine lacks."""
    return [package for command, package in NEEDED.items() if not (shutil.which(command) or shutil.which(package))]


def venv_works(python: str) -> bool:
    """Debian splits ensurepip off into python3.X-venv: without it no environment can be made."""
    probe = subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True, check=False)
    return probe.returncode == 0


def require_tools() -> None:
    version = ".".join(map(str, sys.version_info[:2]))
    if sys.version_info < OLDEST:
        sys.exit(f"[setup] Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}.")
    if sys.version_info[:2] > NEWEST:
        say(f"Python {version} is newer than any that the locks were tried with: if a package is not to be had for it, "
            f"take an older one, as in  make serve PYTHON=python3.{NEWEST[1]}")  # fmt: skip
    lacking = missing_tools()
    if not venv_works(sys.executable):
        lacking.append(f"python{version}-venv")
    if lacking:
        names = " ".join(lacking)
        sys.exit(f"[setup] missing: {names}\n[setup] install it with:  sudo apt-get install -y {names}")


def newer() -> str:
    """A newer Python that this shell finds and that environments can be made with: its name, or ""."""
    names = [f"python3.{minor}" for minor in CHEAPER if minor > sys.version_info.minor]
    return next((name for name in names if shutil.which(name) and venv_works(name)), "")


def made_with() -> str:
    """The version of .venv's Python; "" where there is none, or none with pip: .venv was never finished, or the Python
    that it was made with is gone, or has become another (an upgrade of the system).
    """
    try:
        asked = [str(PYTHON), "-c", "import pip, sys; print(sys.version)"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def create() -> str:
    """A fresh .venv. Returns the version of its Python."""
    require_tools()
    say(f"creating .venv with {sys.executable}, Python {sys.version.split()[0]} …")
    if better := newer():
        say(f"{better} is here too, and may serve with less CPU: make clean, then make serve PYTHON={better}")
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=False)
    version = made_with()
    if made.returncode or not version:
        sys.exit(f"[setup] no environment can be made with {sys.executable}: see above, or name another with PYTHON=")
    return version


def environment() -> dict[str, str]:
    """Keep pip's caches and scratch files in the checkout."""
    scratch = CACHE / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    ours = {"PIP_CACHE_DIR": str(CACHE / "pip"), "TMPDIR": str(scratch), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**os.environ, **ours}  # noqa: TID251 - set-up hands its own environment on to pip


def fingerprint(version: str, *files: Path) -> str:
    digest = hashlib.sha256(version.encode() + str(ROOT).encode())
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
    version = made_with() or create()
    for name in STAGES[kind]:
        lock = LOCKS / f"{name}.lock"
        stage(name, fingerprint(version, lock), pip("--require-hashes", "--only-binary", ":all:", "-r", str(lock)))
    compiled = [str(PYTHON), "-m", "compileall", "-q", "policies", "router", "local_engine"]
    project = pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    # the caged engine writes no .pyc
    stage("project", fingerprint(version, ROOT / "pyproject.toml"), project, compiled)
    build = subprocess.run([str(PYTHON), str(ROOT / "tools" / "build_engine.py")], env=environment(), check=False)
    if build.returncode:
        sys.exit(build.returncode)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "run")
