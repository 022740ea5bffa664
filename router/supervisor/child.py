"""One child process: started, watched, pinged, started again with back-off. Its state has one owner: this object."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from router.channel.control import Control, Message, ProcessState, Word
from router.logs import Log
from router.seal.attestation import Attestation
from router.supervisor.replaced import Files
from router.supervisor.shortage import SHORTAGE, told
from router.unforeseen import heard

BACK_OFF_S = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)  # the last one repeats
LIVED_LONG_S = 30.0  # after this long a death starts the back-off anew
PING_EVERY_S = 1.0
SILENT_TOO_LONG_S = 15.0
NOT_STARTED = 126  # as a shell would say


class Program(Struct, frozen=True):
    """What to start: `command` is given the control socket's descriptor.

    One that is not `controlled` tells its seal by it and then closes it: it is stopped by a signal, and never pinged.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    inherit: tuple[int, ...] = ()
    controlled: bool = True


class Watcher(Struct, frozen=True):
    """Who is told what happens to a child."""

    started: Callable[[Child], None]
    ready: Callable[[Child, str], None]  # with the digest of the policy it serves by
    sealed: Callable[[Child], None]  # `child.attestation` is new
    changed: Callable[[], None]
    alive: Callable[[Child, str], None]  # it answered a ping, with this
    lost: Callable[[Child], None]  # its channel to the gate has closed
    asked: Callable[[Child, Message], None]  # an operator asks through this worker; or the gate answers one, or tells
    fatal: Callable[[str], None]


class Child:
    """Runs one program for as long as the service lives."""

    def __init__(self, program: Program, environment: Mapping[str, str], log: Log, watcher: Watcher) -> None:
        self.program = program
        self._environment = environment
        self._log = log
        self._watcher = watcher
        self._files = Files(log)
        self._control: Control | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._unanswered = 0  # pings
        self._stopping = asyncio.Event()
        self.digest = ""  # of the policy that it said it serves by
        self.attestation: Attestation | None = None  # what it found out about its seal
        self.restarts = 0
        self.state = "starting"
        self.reason = ""

    @property
    def row(self) -> ProcessState:
        seal = self.attestation.seal if self.attestation is not None else ""
        return ProcessState(self.program.name, self.state, self.restarts, self.reason, seal)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def run(self) -> None:
        """Start it, and again whenever it ends, until `stop`."""
        deaths = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._live()
            if self._stopping.is_set():
                break
            deaths = 0 if time.monotonic() - began > LIVED_LONG_S else deaths + 1
            self.restarts += 1
            self._become("restarting", describe(code))
            self._log("process_ended", reason=describe(code), state=self.program.name, restarts=self.restarts)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BACK_OFF_S[min(max(deaths - 1, 0), len(BACK_OFF_S) - 1)]):
                    await self._stopping.wait()
        self._become("stopped", "")

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        if self._control is not None:
            self._control.send(message, descriptors)

    def stop(self) -> None:
        """Ask it to finish what it does and end."""
        self._stopping.set()
        if self.program.controlled:
            self.send(Message(Word.DRAIN))
        else:
            self.kill(signal.SIGTERM)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal its whole process group."""
        if self._process is not None and self.alive:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return

    async def _live(self) -> int:
        """From start to end; how it ended."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            return self._not_started(error)
        control = theirs.fileno()
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                *self.program.command(control),
                stdin=subprocess.DEVNULL,
                env=dict(self._environment),
                pass_fds=(control, *self.program.inherit),  # an engine's launcher tells its seal by it, then closes it
                start_new_session=True,  # a Ctrl-C of the terminal is for the supervisor, which drains in order
            )
        except Exception as error:
            ours.close()
            if not isinstance(error, SHORTAGE):
                raise
            return self._not_started(error)  # no memory, no descriptors, no interpreter: tried again as if it had died
        finally:
            theirs.close()
        if self._stopping.is_set():  # told to stop before there was anything to tell
            self.kill()
        self._unanswered = 0
        self.attestation = None
        self._control = Control(ours, self._on_message, lambda: None)
        self._become("starting" if self.program.controlled else "running", self.reason)
        self._files.look(self.program.name)
        self._watcher.started(self)
        pinging = asyncio.create_task(self._ping()) if self.program.controlled else None
        if pinging is not None:
            pinging.add_done_callback(heard)
        try:
            return await process.wait()
        finally:
            self._control.close()
            if pinging is not None:
                pinging.cancel()

    def _not_started(self, error: Exception) -> int:
        self._log("process_not_started", state=self.program.name, reason=told(error))
        return NOT_STARTED

    async def _ping(self) -> None:
        """A process that hangs is as dead as one that ended.

        Its silence is counted in pings, not by the clock: while we stood still ourselves (SIGSTOP, a machine that
        swaps) nobody was asked.
        """
        while True:
            await asyncio.sleep(PING_EVERY_S)
            self.send(Message(Word.PING))
            self._unanswered += 1
            if self._unanswered * PING_EVERY_S > SILENT_TOO_LONG_S:
                self._log("process_silent", state=self.program.name, after_s=SILENT_TOO_LONG_S)
                self.kill()

    def _on_message(self, message: Message, descriptors: list[int]) -> None:
        """What a child says is believed to be no more than that: it may be taken over."""
        for descriptor in descriptors:
            os.close(descriptor)  # there is none that we would ask for
        self._unanswered = 0
        try:
            self._take(message)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):  # msgspec's own are ValueErrors
            self._log("process_garbled", state=self.program.name, reason=str(message.word))
            self.kill()

    def _take(self, message: Message) -> None:
        if message.word is Word.READY:
            self.digest = message.text
            self._become("ready", "")
            self._watcher.ready(self, message.text)
        elif message.word is Word.SEALED:
            if self.attestation is not None:
                raise ValueError("a second seal")  # each is a record: a child could fill the ledger with them
            self.attestation = Attestation.from_json(message.text)
            self._watcher.sealed(self)
            self._watcher.changed()
        elif message.word is Word.FATAL:
            if self.state == "ready":
                raise ValueError("fatal, though it served")  # by then it is no longer its to stop the service
            self._stopping.set()  # starting it again would not help
            self._watcher.fatal(message.text)
        else:
            self._pass_on(message)

    def _pass_on(self, message: Message) -> None:
        """What concerns the whole tree."""
        if message.word is Word.LOST:
            self._watcher.lost(self)
        elif message.word is Word.PONG:
            self._watcher.alive(self, message.text)
        elif message.word in (Word.NARROW, Word.ANCHORED, Word.DEMANDS):
            self._watcher.asked(self, message)

    def _become(self, state: str, reason: str) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self._watcher.changed()


def describe(code: int) -> str:
    """How a process ended, in words."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
