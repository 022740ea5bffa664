"""A service's process that does not run as root, where /proc hides other users' processes: whose orders does it take?

unshare --mount python -m tests.fakes.hidden     as root; prints what it says to each who asks
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from router.seal.machine import prctl
from router.supervisor.orders import refusal
from tests.fakes.forks import forked

NOBODY = 65534
PR_SET_DUMPABLE = 4


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def ask(path: str) -> None:
    """And stay until it is answered."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.recv(1)


def ask_as_its_program(path: str) -> None:
    """A real one was made by execve(2), which makes it visible to its own user again."""
    prctl(PR_SET_DUMPABLE, 1)
    ask(path)


def ask_as_nobody(path: str) -> None:
    become_nobody()
    ask(path)


def serve(listener: socket.socket, path: str, go: int) -> None:
    """Three ask, one after the other; the last one is a child of ours."""
    become_nobody()
    for who in ("root", "the owner, started by root", "a program of the service"):
        if who == "a program of the service":
            forked(lambda: ask_as_its_program(path))
        else:
            os.write(go, b"x")
        visitor, _ = listener.accept()
        with visitor:
            print(f"{who}: {refusal(visitor)}".rstrip(), flush=True)  # a child made later would say it again


def main(path: str) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc"], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        print("cannot mount:", mounted.stderr, flush=True)
        return
    told, go = os.pipe()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        Path(path).chmod(0o777)
        listener.listen()
        listener.settimeout(30)
        service = forked(lambda: serve(listener, path, go))
        for asking in (ask, ask_as_nobody):
            os.read(told, 1)
            os.waitpid(forked(lambda asking=asking: asking(path)), 0)  # type: ignore[misc]  # bound at once
        os.waitpid(service, 0)


if __name__ == "__main__":
    signal.alarm(50)
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        main(f"{directory}/s")
