"""A service's process with a program below it whose grandchildren knock while their parents die: who is let in?

python -m tests.fakes.orphans DIRECTORY     prints how many of TRIES were taken for strangers
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable

from router.supervisor.family import adopt
from router.supervisor.orders import refusal
from tests.fakes.forks import forked

TRIES = 20
SLEEPERS = 150  # below the program: a walk down the tree is busy with these while somebody moves
STEP_S = 0.0005


def knocking(path: str, number: int) -> Callable[[], None]:
    """To knock, lose the parent a moment later, and wait for what is said."""

    def act() -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            time.sleep(number * STEP_S)
            os.kill(os.getppid(), signal.SIGKILL)
            sock.recv(1)

    return act


def starting(told: int, knock: Callable[[], None]) -> Callable[[], None]:
    """To wait for the word, start one that knocks, and be killed by it."""

    def act() -> None:
        os.read(told, 1)
        forked(knock)
        signal.pause()

    return act


def program(path: str, go: int) -> None:
    """The ones that will start those who knock are its first children, the sleepers come after."""
    pipes = [os.pipe() for _ in range(TRIES)]
    for number, (told, _) in enumerate(pipes):
        forked(starting(told, knocking(path, number)))
    for _ in range(SLEEPERS):
        forked(signal.pause)
    for _, tell in pipes:
        os.read(go, 1)
        os.write(tell, b"x")
    signal.pause()


def main(path: str) -> None:
    adopt()
    strangers = 0
    asked, go = os.pipe()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(60)
        forked(lambda: program(path, asked))
        for _ in range(TRIES):
            os.write(go, b"x")
            visitor, _ = listener.accept()
            with visitor:
                strangers += not refusal(visitor)
    print(strangers)


if __name__ == "__main__":
    os.setpgid(0, 0)
    try:
        main(sys.argv[1])
    finally:
        sys.stdout.flush()
        os.killpg(0, signal.SIGKILL)
