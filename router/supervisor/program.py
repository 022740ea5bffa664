"""One managed program: its settings, its process, and what is known of it. `Managed` owns it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from router.channel.control import ProcessState
from router.channel.programs import Demand, ProgramState
from router.seal.attestation import Attestation
from router.settings.snapshot import ManagedSettings
from router.supervisor.cage import caged_program
from router.supervisor.door import listener
from router.supervisor.launcher import LauncherReport
from router.supervisor.orders import near
from router.supervisor.shortage import SHORTAGE, told
from router.supervisor.swapping import HOLDING, Known, Phase, back_off_s

KEEPER: Final = (sys.executable, "-I", "-m", "router.supervisor.keeper")
LONGEST_SOCKET: Final = 107  # bytes of a path: sockaddr_un of unix(7), with its end
LIVED_LONG_S: Final = 30.0  # ready for so long: its next failure is the first again


class CannotStart(Exception):
    """Nothing was started; the message says why."""


class Places(Struct):
    """Where programs have their things: sockets in the service's own directory, logs and homes beside it.

    `required`: what the kernel must enforce on each, or it is not started.
    """

    sockets: Path
    homes: Path
    required: tuple[str, ...] = ()

    def own(self, name: str) -> Path:
        """The one place among the sockets that a program may write to. No engine's name ends so."""
        return self.sockets / f"{name}@"

    def socket(self, name: str) -> Path:
        return self.own(name) / "s"

    def door(self, name: str) -> Path:
        return self.sockets / f"{name}@.door"

    def home(self, name: str) -> Path:
        return self.homes / name

    def log(self, name: str) -> Path:
        return self.homes / f"{name}.log"


class ManagedProgram(Struct):
    """What the swapper decides by, and the process behind it."""

    settings: ManagedSettings
    phase: Phase = Phase.STOPPED
    reason: str = ""
    demand: Demand = field(default_factory=Demand)
    heard_at: float = 0.0  # of the demand
    told: int = 0  # the number of the telling that held this phase first
    settled: bool = False
    ordered: bool = False
    dismissed: bool = False
    listed: bool = True  # in the settings in force
    started_at: float = 0.0
    ready_since: float = 0.0
    used_at: float = 0.0
    retry_at: float = 0.0
    failures: int = 0
    starts: int = 0
    ending: str = ""  # why it is stopped, when that is a failure
    process: asyncio.subprocess.Process | None = None
    lifeline: int = -1
    report: LauncherReport | None = None
    attestation: Attestation | None = None  # of the process that runs
    refusal: str = ""  # why its launcher did not let it start

    @property
    def state(self) -> ProgramState:
        return ProgramState(self.phase.value, self.reason)

    @property
    def row(self) -> ProcessState:
        """For /health."""
        state = self.phase.value
        if self.phase is Phase.RUNNING:
            state = "ready" if self.demand.ready else "starting"
        seal = self.attestation.seal if self.attestation is not None else ""
        return ProcessState(f"managed-{self.settings.name}", state, max(0, self.starts - 1), self.reason, seal)

    def known(self) -> Known:
        """What the decision is made by."""
        settings, demand = self.settings, self.demand
        running = self.phase is Phase.RUNNING
        return Known(
            name=settings.name,
            phase=self.phase,
            group=settings.exclusive,
            waiting=demand.waiting,
            waiting_since=self.heard_at - demand.waits_s,
            under_way=demand.under_way,
            settled=self.settled,
            ready=running and self.settled and demand.ready,
            ready_since=self.ready_since,
            started_at=self.started_at,
            used_at=self.used_at,
            retry_at=self.retry_at,
            eager=settings.eager and self.listed,
            ordered=self.ordered,
            dismissed=self.dismissed or not self.listed,
            idle_s=settings.idle_s,
            patience_s=settings.patience_s,
            start_within_s=settings.start_within_s,
        )

    def hear(self, demand: Demand, number: int, now: float) -> None:
        """What the gate says of it, having acted upon our telling of this number."""
        self.settled = number >= self.told
        if self.phase is Phase.RUNNING and self.settled and demand.ready and not self.ready_since:
            self.ready_since = now
            self.ordered = False
        if demand.under_way or self.demand.under_way:
            self.used_at = now
        self.demand, self.heard_at = demand, now

    async def start(
        self, places: Places, environment: Mapping[str, str], now: float, sealed: Callable[[Attestation], None]
    ) -> None:
        """CannotStart when there is no process afterwards. `sealed` hears how it is held, before it runs."""
        self.started_at, self.ready_since, self.used_at, self.ending = now, 0.0, now, ""
        self.starts += 1
        self.attestation, self.refusal = None, ""
        held: list[int] = []
        try:
            self._open_pipes(held, sealed)
            command = self._command(places, held)
            self.process = await asyncio.create_subprocess_exec(
                *command,
                stdin=subprocess.DEVNULL,
                cwd=places.home(self.settings.name),
                env=self._environment(places, environment),
                pass_fds=held,
                start_new_session=True,
            )
        except SHORTAGE as error:
            self.let_go()
            raise CannotStart(f"cannot be started: {told(error)}") from None
        finally:
            for descriptor in held:
                os.close(descriptor)

    def _open_pipes(self, held: list[int], sealed: Callable[[Attestation], None]) -> None:
        """Its ends of lifeline and report, in this order, go to `held`. OSError."""
        reading, self.lifeline = os.pipe()
        held.append(reading)
        telling, report = os.pipe()
        held.append(report)
        self.report = LauncherReport(telling, sealed, self._refused)

    def _refused(self, reason: str) -> None:
        self.refusal = reason

    def _environment(self, places: Places, environment: Mapping[str, str]) -> dict[str, str]:
        """A user's name is said, for /etc/passwd is not among what it may read."""
        name, value = self.mark.split("=", 1)
        home = places.home(self.settings.name)
        own = {"HOME": str(home), "TMPDIR": str(home / "tmp"), "LOGNAME": "ringfence", "USER": "ringfence", name: value}
        return {**environment, **own, **self.settings.environment}

    @property
    def mark(self) -> str:
        """In the environment of all that it starts: by it what a killed keeper left behind is known."""
        return f"RINGFENCE_PROGRAM={os.getpid()}:{self.settings.name}"

    def _command(self, places: Places, held: list[int]) -> list[str]:
        """The keeper's; a door is added to what it holds: lifeline, report."""
        settings, socket = self.settings, places.socket(self.settings.name)
        (places.home(settings.name) / "tmp").mkdir(mode=0o700, parents=True, exist_ok=True)
        places.own(settings.name).mkdir(mode=0o700, exist_ok=True)
        socket.unlink(missing_ok=True)
        if settings.network == "none" and len(os.fsencode(socket)) > LONGEST_SOCKET:
            self.let_go()
            raise CannotStart("its socket's path is too long: put the ledger in a directory with a shorter one")
        command = [part.replace("{socket}", str(socket)) for part in settings.command]
        log, stop, (lifeline, report) = str(places.log(settings.name)), f"{settings.stop_within_s:g}", held
        bounds = ["--lifeline", str(lifeline), "--report", str(report), "--log", log, "--stop-within", stop]
        own = (places.home(settings.name), places.own(settings.name))
        sealed = caged_program(settings, own, report, places.required, command)
        return [*KEEPER, *bounds, *self._door(places, held), "--", *sealed]

    def _door(self, places: Places, held: list[int]) -> list[str]:
        if self.settings.network == "none":
            return []
        with near(places.sockets) as directory:
            door = listener(f"{directory}/{places.door(self.settings.name).name}").detach()
        held.append(door)
        return ["--door", str(door), "--address", *map(str, self.settings.address)]

    def stop(self) -> None:
        """Ask the keeper to end all of it."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)

    def ended(self, code: int, now: float) -> bool:
        """Nothing of it is left. Whether that was a failure, after which it is left alone for a while."""
        self.let_go()
        self.attestation = None
        meant = self.phase is Phase.STOPPING and not self.ending
        self.phase, self.dismissed = Phase.STOPPED, False
        self.reason = ""
        if not meant:
            lived_long = self.ready_since and now - self.ready_since > LIVED_LONG_S
            self.fail(self.ending or self.refusal or _described(code), now, first=bool(lived_long))
        return not meant

    def fail(self, reason: str, now: float, *, first: bool = False) -> None:
        self.failures = 1 if first else self.failures + 1
        self.phase, self.ordered, self.reason = Phase.FAILED, False, reason
        self.retry_at = now + back_off_s(self.failures)

    def let_go(self) -> None:
        """The lifeline closes: a keeper that still lives ends everything."""
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1
        if self.report is not None:
            self.report.close()
            self.report = None

    @property
    def holds(self) -> bool:
        return self.phase in HOLDING


def _described(code: int) -> str:
    """A keeper gives back what a shell would: 128 and the signal's number."""
    code = 128 - code if code < 0 else code
    if code > 128 and code - 128 in set(signal.Signals):
        return f"killed by {signal.Signals(code - 128).name}"
    return f"exit code {code}"
