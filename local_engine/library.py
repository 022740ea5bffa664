"""Which build of llama.cpp this process may load: the fast one, if a throw-away process survives it.

No CPU flag tells whether a build works: GCC 12 miscompiles AMX, and only running the kernels shows it. So each
library decodes enough tokens in a child to reach them, once per CPU, library and model; the verdict is kept in a file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local_engine.model_file import fingerprint

PROBE_SECONDS = 120
VERDICTS = "library-verdicts.json"
MEASURED = "library-measured.json"

log = logging.getLogger("local_engine")


class NoLibrary(Exception):
    """No build of llama.cpp works here; the sentence lists what was tried."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The library to load; `reason` says why it is not the first choice, and is empty when it is."""

    name: str
    folder: Path
    reason: str = ""


Probe = Callable[[Path, Path], str]
"""(library folder, model) -> empty when it works, else what happened."""


def candidates(environment_root: Path = Path(sys.prefix)) -> list[Choice]:
    """The libraries that set-up compiled, the fastest first."""
    folders = [(name, environment_root / "engine" / f"{name}-lib") for name in ("native", "safe")]
    return [Choice(name, folder) for name, folder in folders if (folder / "libllama.so").exists()]


def choose(found: list[Choice], model: Path, state_dir: Path | None, probe: Probe) -> Choice:
    """The first library that works. Raises NoLibrary when none does."""
    verdicts = _read(state_dir, VERDICTS)
    fastest = _read(state_dir, MEASURED).get(_subject(model))
    troubles: list[str] = []
    for candidate in sorted(found, key=lambda one: one.name != fastest):
        if any(candidate.folder.glob("*ggml-rpc*")):
            troubles.append(f"the {candidate.name} library holds the RPC back end, which calls other machines")
            log.warning("%s", troubles[-1])
            continue
        key = _key(candidate, model)
        if key not in verdicts:
            log.info("testing the %s library in a throw-away process", candidate.name)
            verdicts[key] = probe(candidate.folder, model)
            _write(state_dir, VERDICTS, verdicts)
        if not verdicts[key]:
            return Choice(candidate.name, candidate.folder, "; ".join(troubles))
        troubles.append(f"the {candidate.name} library {verdicts[key]}")
        log.warning("%s", troubles[-1])
    raise NoLibrary("; ".join(troubles) or "llama.cpp is not compiled; run `make` in the checkout")


def run_probe(folder: Path, model: Path) -> str:
    """Decode with one library in a child of its own."""
    command = [sys.executable, "-I", "-m", "local_engine.probe", str(folder), str(model), str(os.getpid())]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=PROBE_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return f"did not decode 64 tokens within {PROBE_SECONDS} s"
    if done.returncode < 0:
        return f"crashed with {signal.Signals(-done.returncode).name}"
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        return f"failed: {last[0][:200] if last else f'exit {done.returncode}'}"
    return ""


def select(choice: Choice) -> None:
    """Tell the bindings what to load. Before the first import of local_engine.native, which reads it."""
    for name in ("LLAMA_CPP_LIB_PATH", "MTMD_CPP_LIB"):
        os.environ[name] = str(choice.folder)  # noqa: TID251 - the bindings look nowhere else


def cpu_name() -> str:
    """Model and stepping of the CPU, the same for every core."""
    wanted = ("model name", "stepping", "microcode", "CPU part")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return "|".join(sorted({line.strip() for line in lines if line.startswith(wanted)}))


def prefer(name: str, model: Path, state_dir: Path) -> None:
    """Keep which library was measured to be the fastest for this model on this CPU: `choose` begins with it."""
    _write(state_dir, MEASURED, {**_read(state_dir, MEASURED), _subject(model): name})


def _subject(model: Path) -> str:
    return hashlib.sha256(f"{cpu_name()}\0{fingerprint(model)}".encode()).hexdigest()


def _key(candidate: Choice, model: Path) -> str:
    digest = hashlib.sha256(f"{cpu_name()}\0{fingerprint(model)}\0".encode())
    for library in sorted(candidate.folder.glob("libggml-cpu.so")):
        digest.update(library.read_bytes())
    return f"{candidate.name}:{digest.hexdigest()}"


def _read(state_dir: Path | None, name: str) -> dict[str, str]:
    """Missing or damaged verdicts are found again."""
    if state_dir is None:
        return {}
    try:
        found = json.loads((state_dir / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _write(state_dir: Path | None, name: str, verdicts: dict[str, str]) -> None:
    """Replaced as a whole. A directory that cannot be written costs a probe at the next start, nothing else."""
    if state_dir is None:
        return
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        fresh = state_dir / f"{name}.{os.getpid()}"
        fresh.write_text(json.dumps(verdicts, indent=1), encoding="utf-8")
        fresh.replace(state_dir / name)
    except OSError as error:
        log.warning("cannot keep the CPU's verdict in %s: %s", state_dir, error.strerror)
