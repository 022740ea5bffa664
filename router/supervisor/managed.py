"""The managed programs: their one parent. It tells the gate which of them run, hears which are asked for, and acts.

What is done is decided by `swapping.decide`; here it is done, recorded and told. A program that is told to finish is
only stopped once the gate has said, after hearing so, that no request of it is under way.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

import msgspec

from router.channel.control import Message, ProcessState, Word
from router.channel.programs import Demand, Demands, Programs
from router.channel.seal_told import log_seal
from router.logs import Log
from router.seal.attestation import Attestation
from router.settings.snapshot import ManagedSettings
from router.supervisor.family import adopt, descendants, marked, reap, tell
from router.supervisor.program import CannotStart, ManagedProgram, Places
from router.supervisor.swapping import Action, Do, Phase, decide

LOOK_S: Final = 0.2
STEP_S: Final = 0.05
EMPTY_LOOKS: Final = 3  # in a row, before nothing is believed to be left
GONE_S: Final = 3.0  # beyond `stop_within`
Tell = Callable[[Message], None]


class Managed:
    """Every managed program of one service."""

    def __init__(
        self, places: Places, environment: Mapping[str, str], log: Log, tell_gate: Tell, changed: Callable[[], None]
    ) -> None:
        self._places = places
        self._environment = environment
        self._log = log
        self._tell_gate = tell_gate
        self._changed = changed
        self._programs: dict[str, ManagedProgram] = {}
        self._wanted: dict[str, ManagedSettings] = {}
        self._told = 0
        self._news = asyncio.Event()
        self._closing = False
        self._broken: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def rows(self) -> tuple[ProcessState, ...]:
        return tuple(program.row for program in self._programs.values())

    def settle(self, settings: Mapping[str, ManagedSettings]) -> None:
        """The settings in force. A program that they change, or no longer name, finishes what runs and is stopped."""
        for name, program in self._programs.items():
            if settings.get(name) != program.settings:
                program.listed = False
        for name, wanted in settings.items():
            known = self._programs.get(name)
            if known is None or (not known.listed and not known.holds):
                self._programs[name] = ManagedProgram(wanted)
        self._wanted = dict(settings)
        self._news.set()
        self.tell()

    def heard(self, text: str) -> None:
        """The gate tells how much each is asked for."""
        demands = msgspec.json.decode(text, type=Demands)
        now = monotonic()
        for name, program in self._programs.items():
            was_ready = program.demand.ready
            program.hear(demands.programs.get(name, Demand()), demands.number, now)
            if program.demand.ready != was_ready:
                self._changed()
        self._news.set()

    def tell(self) -> None:
        """All phases, to the gate; also to one that has just started."""
        if self._programs:
            self._told += 1
            states = {name: program.state for name, program in self._programs.items()}
            told = msgspec.json.encode(Programs(self._told, states)).decode()
            self._tell_gate(Message(Word.PROGRAMS, text=told))

    def forget_demand(self) -> None:
        """The gate is another one: every request is gone, and it has not heard yet how the programs are held."""
        for program in self._programs.values():
            program.demand, program.settled, program.told = Demand(), False, self._told + 1
            self._pass_on_seal(program)

    async def run(self) -> None:
        """Decide and act, until `close`."""
        adopt()
        while not self._closing:
            if self._broken is not None:
                raise self._broken
            self._replace_changed()
            for action in decide([program.known() for program in self._programs.values()], monotonic()):
                await self._act(action)
            self._news.clear()
            try:
                async with asyncio.timeout(LOOK_S if self._programs else None):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Stop all; returns when nothing of them is left, or nothing more can be done here."""
        self._closing = True
        self._news.set()
        for program in self._programs.values():
            if program.holds:
                program.phase = Phase.STOPPING
                program.stop()
        longest_s = max((one.settings.stop_within_s for one in self._programs.values()), default=0.0)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=longest_s + GONE_S)
        for program in self._programs.values():
            program.let_go()

    # --- orders ---

    def managed(self, name: str) -> bool:
        return name in self._programs and self._programs[name].listed

    def order(self, name: str) -> None:
        """Run it now: whoever holds its group finishes and gives way."""
        program = self._programs[name]
        program.ordered, program.dismissed, program.retry_at = program.phase is not Phase.RUNNING, False, 0.0
        self._news.set()

    def dismiss(self, name: str) -> bool:
        """Stop it when what runs is finished; a later request may start it again. Whether there was anything."""
        program = self._programs[name]
        program.ordered = False
        program.dismissed = program.holds
        self._news.set()
        return program.dismissed

    def names(self) -> list[str]:
        return [name for name, program in self._programs.items() if program.listed]

    async def until_ready(self, name: str, wait_s: float) -> ProcessState:
        """The program's row, once it answers, has failed, or the time is over."""

        def settled() -> bool:
            program = self._programs[name]
            return program.known().ready or (program.phase is Phase.FAILED and not program.ordered)

        await _until(settled, wait_s)
        return self._programs[name].row

    async def until_gone(self, name: str, wait_s: float) -> bool:
        """Whether a dismissed program is gone (it may have been asked for again since), once it is or time is over."""
        return await _until(lambda: name not in self._programs or not self._programs[name].dismissed, wait_s)

    # --- acting ---

    def _replace_changed(self) -> None:
        """What is no longer listed and no longer holds anything goes; what replaced it comes."""
        for name, program in list(self._programs.items()):
            if program.listed or program.holds:
                continue
            del self._programs[name]
            if name in self._wanted:
                self._programs[name] = ManagedProgram(self._wanted[name])
            self.tell()

    async def _act(self, action: Action) -> None:
        program = self._programs[action.name]
        match action.do:
            case Do.START:
                await self._start(program, action.reason)
            case Do.DRAIN:
                late = program.known()
                program.ending = action.reason if not (late.ready or late.dismissed) else ""
                self._enter(program, Phase.DRAINING, action.reason)
                self._log("program_gives_way", upstream=action.name, reason=action.reason)
            case Do.STOP:
                self._enter(program, Phase.STOPPING, program.reason)
                self._record("stop", action.name, program.reason)
                program.stop()

    async def _start(self, program: ManagedProgram, reason: str) -> None:
        name = program.settings.name
        self._record("start", name, reason)
        try:
            await program.start(
                self._places, self._environment, monotonic(), lambda found: self._sealed(program, found)
            )
        except CannotStart as error:
            program.fail(str(error), monotonic())
            self._enter(program, Phase.FAILED, program.reason)
            self._log("program_failed", upstream=name, reason=program.reason)
            return
        self._enter(program, Phase.RUNNING, reason)
        self._log("program_started", upstream=name, reason=reason)
        task = asyncio.create_task(self._watch(program), name=f"program {name}")
        self._tasks.add(task)
        task.add_done_callback(self._watched)

    def _watched(self, task: asyncio.Task[None]) -> None:
        """If it failed, nobody would see that program end: `run` fails with it."""
        self._tasks.discard(task)
        self._broken = self._broken or (None if task.cancelled() else task.exception())
        self._news.set()

    def _sealed(self, program: ManagedProgram, found: Attestation) -> None:
        """How it is held: to the gate for the ledger, to the log, and to whoever looks."""
        program.attestation = found
        log_seal(found, self._log)
        self._pass_on_seal(program)
        self._changed()

    def _pass_on_seal(self, program: ManagedProgram) -> None:
        if program.attestation is not None:
            name = f"managed-{program.settings.name}"
            self._tell_gate(Message(Word.SEALED, name=name, text=program.attestation.to_json()))

    async def _watch(self, program: ManagedProgram) -> None:
        assert program.process is not None  # noqa: S101 - it was started
        code = await program.process.wait()
        name = program.settings.name
        await self._end_orphans(program)
        failed = program.ended(code, monotonic())
        self._log("program_failed" if failed else "program_stopped", upstream=name, reason=program.reason)
        if failed:
            self._record("failed", name, program.reason)
        self._enter(program, program.phase, program.reason)
        self._news.set()

    async def _end_orphans(self, program: ManagedProgram) -> None:
        """A keeper ends all that is its own, unless it was killed itself: then it has become ours.

        A process that dies has no environment to be known by, and may hold a child that is ours only a moment later:
        so it is looked below our own children too, and more than once. The program itself, which the kernel kills with
        its keeper, is known by its launcher's word, and collected however fast it died.
        """
        empty, seen = 0, set[int]() if program.attestation is None else {program.attestation.pid}
        while empty < EMPTY_LOOKS:
            left = {pid for pid in descendants(os.getpid()) if marked(pid, program.mark)}
            empty = 0 if left else empty + 1
            seen |= left
            for pid in left:
                tell(pid, signal.SIGKILL)
            await asyncio.sleep(STEP_S)
            for pid in seen:
                reap(pid)

    def _enter(self, program: ManagedProgram, phase: Phase, reason: str) -> None:
        """A new phase, and the gate hears of it."""
        program.phase, program.reason = phase, reason
        program.settled, program.told = False, self._told + 1
        self.tell()
        self._changed()

    def _record(self, what: str, name: str, reason: str) -> None:
        """For the ledger."""
        self._tell_gate(Message(Word.PROGRAM, name=name, text=f"managed_{what}\n{reason}"))


async def _until(true: Callable[[], bool], wait_s: float) -> bool:
    for _ in range(round(wait_s / STEP_S)):
        if true():
            return True
        await asyncio.sleep(STEP_S)
    return true()
