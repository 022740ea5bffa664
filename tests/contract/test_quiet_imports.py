"""Importing any module of ours opens no socket, starts no thread or process, and writes no file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT = Path(sys.prefix) / "engine" / "safe-lib"
# Runs in a process of its own: an audit hook (PEP 578) sees what the interpreter itself is asked to do.
WATCH = """
import os, pkgutil, sys, threading
seen = []
name = "_start_new_thread" if hasattr(threading, "_start_new_thread") else "_start_joinable_thread"  # Python 3.13
start = getattr(threading, name)
def started(*arguments, **named):
    seen.append("a thread")
    return start(*arguments, **named)
setattr(threading, name, started)
LOUD = ("socket.bind", "socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.__new__", "subprocess.Popen",
        "os.fork", "os.exec", "os.posix_spawn", "os.system", "urllib.Request")
def hook(event, arguments):
    if event in LOUD:
        seen.append(event)
    elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.append(f"open for writing: {arguments[0]}")
sys.addaudithook(hook)
sys.dont_write_bytecode = True
def modules(name):
    package = __import__(name, fromlist=["_"])
    yield name
    for found in pkgutil.walk_packages(package.__path__, name + "."):
        yield found.name
count = 0
for package in sys.argv[1:]:
    for name in modules(package):
        if name.endswith("__main__"):
            continue
        __import__(name)
        count += 1
print(count, len(os.listdir("/proc/self/task")), seen)
"""


@pytest.mark.parametrize(("package", "least"), [("policies", 10), ("router", 60)])
def test_importing_does_nothing(package: str, least: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCH, package], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    count, threads, seen = done.stdout.strip().split(" ", 2)
    assert (int(threads), seen) == (1, "[]")
    assert int(count) >= least


@pytest.mark.engine
@pytest.mark.skipif(not (BUILT / "libllama.so").exists(), reason="the engine is not built: make setup builds it")
def test_importing_the_engine_does_nothing_of_its_own() -> None:
    """Numpy's own library may start threads; Python is asked for none, nor for anything else."""
    where = {"LLAMA_CPP_LIB_PATH": str(BUILT), "MTMD_CPP_LIB": str(BUILT)}
    done = subprocess.run(
        [sys.executable, "-c", WATCH, "local_engine"], cwd=ROOT, capture_output=True, text=True, timeout=60,
        check=False, env={**os.environ, **where},  # noqa: TID251 - with what it needs to run at all
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    count, _threads, seen = done.stdout.strip().split(" ", 2)
    assert seen == "[]"
    assert int(count) >= 80


def test_the_watch_does_see(tmp_path: Path) -> None:
    """A hook that sees nothing would pass everything."""
    (tmp_path / "loud").mkdir()
    (tmp_path / "loud" / "__init__.py").write_text(
        "import socket, threading\nsocket.socket().close()\nthreading.Thread(target=int).start()\n"
        "open('x', 'w').close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", WATCH, "loud"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    for word in ("socket.__new__", "a thread", "open for writing"):
        assert word in done.stdout
