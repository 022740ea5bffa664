"""A program of the service's asks and is gone before it is looked at; a stranger has its number by then.

unshare --pid --fork --mount-proc python -m tests.fakes.reused PATH     as root; prints what is said of whoever asked
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from router.supervisor.orders import refusal
from tests.fakes.forks import forked

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


def ask(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)


def serve(listener: socket.socket, path: str, gone: int, wait: int) -> None:
    """The service: its program asks and ends; once another has its number, who asked is looked at."""
    program = forked(lambda: ask(path))
    os.waitpid(program, 0)
    os.write(gone, b"%d\n" % program)
    os.read(wait, 1)
    visitor, _ = listener.accept()
    with visitor:
        print(refusal(visitor), flush=True)


def main(path: str) -> None:
    told, gone = os.pipe()
    wait, go = os.pipe()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        service = forked(lambda: serve(listener, path, gone, wait))
        number = int(os.read(told, 32))
        LAST_PID.write_text(str(number - 1))
        stranger = forked(signal.pause)
        print(stranger == number, flush=True)
        os.write(go, b"x")
        os.waitpid(service, 0)
        os.kill(stranger, signal.SIGKILL)


if __name__ == "__main__":
    signal.alarm(50)
    main(sys.argv[1])
