"""Between the supervisor and one managed program: `python -I -m router.supervisor.keeper … -- COMMAND`.

It starts the program in a session and a network of its own, keeps its output within bounds, lets the gate in to it
(`router.supervisor.door`), and sees to it that nothing of it is left: it adopts what the program's children leave
behind (PR_SET_CHILD_SUBREAPER), and ends all of it when the program ends, when it is told to (SIGTERM), or when the
supervisor is gone (the lifeline closes).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from router.seal.namespace import hide, own_network
from router.seal.process import gain_nothing
from router.supervisor.door import Door
from router.supervisor.family import adopt, children, descendants, die_with_parent, reap, tell
from router.supervisor.output import Output

NOT_STARTED: Final = 126  # as a shell would say
RUN: Final = "/run"
LOOK_S: Final = 0.05
READ: Final = 65536


@dataclass(frozen=True, slots=True)
class Held:
    """What the supervisor gives it. `report`: where the program's launcher tells of its seal."""

    lifeline: int
    report: int
    door: Door | None = None
    hides: bool = True  # what lies below /run, where nothing of its own does


class Keeper:
    """One program from its start until nothing of it is left."""

    def __init__(self, command: Sequence[str], output: Output, held: Held, stop_within_s: float) -> None:
        self._command = command
        self._output = output
        self._lifeline = held.lifeline
        self._report = held.report
        self._door = held.door
        self._hides = held.hides
        self._stop_within_s = stop_within_s
        self._program: subprocess.Popen[bytes] | None = None
        self._told_to_stop = False
        self._kill_at = 0.0

    def run(self) -> int:
        """Start it and wait until all of it is gone; its exit code, or 126 with the reason in the log."""
        adopt()
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        if refusal := own_network():
            if self._door is None:
                self._output.say(f"not started: no network of its own ({refusal}), and 'network: none' asks for one")
                return NOT_STARTED
            self._output.say(f"it shares this machine's network: {refusal}")
        elif self._hides and (refusal := hide(RUN)):
            self._output.say(f"{RUN} stays in its sight: {refusal}")
        reading, writing = os.pipe()
        try:
            self._program = self._start(writing)
        except (OSError, subprocess.SubprocessError) as error:
            self._output.say(f"not started: {error}")
            return NOT_STARTED
        finally:
            os.close(writing)
            os.close(self._report)  # the program's launcher has it
        return self._keep(reading)

    def _start(self, output: int) -> subprocess.Popen[bytes]:
        ours = os.getpid()

        def before() -> None:  # in the child, before the program: this process has one thread
            os.setsid()
            gain_nothing()
            die_with_parent()
            if os.getppid() != ours:
                os._exit(NOT_STARTED)

        return subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(self._report,),
            preexec_fn=before,  # noqa: PLW1509 - there is one thread, so no lock is held
        )

    def _keep(self, reading: int) -> int:
        waiting = [reading, self._lifeline]
        while not self._is_over():
            with contextlib.suppress(InterruptedError):
                found = self._select(waiting)
                if self._lifeline in found:
                    self._stop()
                    waiting.remove(self._lifeline)
                if reading not in found:
                    continue
                if data := os.read(reading, READ):
                    self._output.write(data)
                else:
                    waiting.remove(reading)
        while select.select([reading], [], [], 0)[0] and (data := os.read(reading, READ)):
            self._output.write(data)
        assert self._program is not None  # noqa: S101 - it was started
        return _as_a_shell_says(self._program.returncode)

    def _select(self, waiting: Sequence[int]) -> Sequence[int]:
        """Which of these can be read, within LOOK_S; meanwhile the door is looked after."""
        if self._door is None:
            return select.select(waiting, [], [], LOOK_S)[0]
        found, writable, _ = select.select([*waiting, *self._door.visitors], self._door.connecting, [], LOOK_S)
        self._door.look(found, writable)
        return found

    def _is_over(self) -> bool:
        """Nothing is left. What outlives the program gets the same polite signal and the same time."""
        assert self._program is not None  # noqa: S101 - it was started
        if self._program.poll() is not None:
            self._stop()
            for pid in children(os.getpid()):
                reap(pid)
        left = descendants(os.getpid())
        if left and self._told_to_stop and time.monotonic() > self._kill_at:
            for pid in left:
                tell(pid, signal.SIGKILL)
        return not left and self._program.poll() is not None

    def _stop(self) -> None:
        if self._told_to_stop:
            return
        self._told_to_stop = True
        self._kill_at = time.monotonic() + self._stop_within_s
        for pid in descendants(os.getpid()):
            tell(pid, signal.SIGTERM)


def _needs(place: str, command: Sequence[str]) -> bool:
    """Is anything that the command names, for itself or for its launcher, below this place?"""
    return any(Path(word).is_absolute() and Path(word).resolve().is_relative_to(place) for word in command)


def _as_a_shell_says(code: int) -> int:
    return code if code >= 0 else 128 - code


def main() -> int:
    parser = argparse.ArgumentParser(prog="router.supervisor.keeper")
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--stop-within", type=float, required=True)
    parser.add_argument("--report", type=int, required=True)
    parser.add_argument("--door", type=int, help="a listening UNIX socket, for the gate")
    parser.add_argument("--address", nargs=2, help="where the program listens in its network: HOST PORT")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    os.umask(0o077)
    door = None if arguments.door is None else Door(arguments.door, arguments.address[0], int(arguments.address[1]))
    with Output(arguments.log) as output:
        held = Held(arguments.lifeline, arguments.report, door, not _needs(RUN, arguments.command))
        return Keeper(arguments.command[1:], output, held, arguments.stop_within).run()


if __name__ == "__main__":
    sys.exit(main())
