"""The whole tree: one gate, N workers, one process for each engine. Who is started, told and stopped when."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from router.channel.control import Message, Word
from router.channel.link import pair
from router.channel.seal_told import log_seal
from router.logs import Log
from router.settings.snapshot import EngineSettings, Snapshot
from router.supervisor.anchoring import Anchoring
from router.supervisor.child import Child, Program, Watcher
from router.supervisor.handing import GATE, CannotReload, Handing
from router.supervisor.managed import Managed
from router.supervisor.program import Places
from router.supervisor.remembering import Remembering
from router.supervisor.run_directory import engine_socket, made_again
from router.unforeseen import described, spawn

PYTHON = (sys.executable, "-I", "-m")
ENGINE_STATE = "engine-state"
FIXED = ("listen", "engines", "audit", "require_seal")  # what processes were started by
LONGEST_REASON = 4000
ENDS_S = 2.0  # beyond the time to drain; then a process that has not ended is killed
GATE_ENDS_S = 10.0  # it seals what was cut, and writes its last records
CHANNEL_AGAIN_S = 0.2  # a gate that died is known to be dead by then, and brings its own channels when it is back


class Tree:
    """Built from one snapshot; `run` lives until `stop`."""

    def __init__(
        self, snapshot: Snapshot, listener: socket.socket, run_directory: Path, environment: Mapping[str, str]
    ) -> None:
        self._listener = listener
        self._directory = run_directory
        self._environment = environment
        self._log = Log("supervisor")
        self._handing = Handing(snapshot, self._log)
        self._ended = asyncio.Event()
        self.serving = asyncio.Event()  # the gate and every worker have been up together
        self._awaited: set[str] = set()  # processes that have not said yet that they serve by the newest settings
        self._swapped = asyncio.Event()
        self._notice = ""
        self._channelless, self._rejoining = set[str](), set[str]()  # workers; of these, those tried again soon
        self.on_asked: Callable[[Message], Awaitable[Message]] | None = None  # who answers operators' questions
        self._answering: set[asyncio.Task[None]] = set()
        self.failure: str | None = None
        self.anchoring = Anchoring(self._tell_gate)
        self._remembering = Remembering(Path(snapshot.audit.directory), self._log)
        self._engine_sockets = {name: engine_socket(run_directory, name) for name in snapshot.engines}
        places = Places(run_directory, run_directory.parent / "managed", snapshot.require_seal)
        self.managed = Managed(places, environment, self._log, self._tell_gate, self._tell)
        self._gate = self._child(Program(GATE, self._gate_command, (), controlled=True))
        self._workers = [self._child(self._worker(number)) for number in range(snapshot.listen.workers)]
        self._engines = [self._child(self._engine(engine)) for engine in snapshot.engines.values()]

    @property
    def _snapshot(self) -> Snapshot:
        """The newest settings."""
        return self._handing.snapshot

    @property
    def children(self) -> list[Child]:
        return [self._gate, *self._workers, *self._engines]

    async def run(self) -> None:
        """Start all, keep all running; returns when stopped, with all of them ended."""
        self.managed.settle(self._snapshot.managed)
        runs = [*(child.run() for child in self.children), self.managed.run()]
        tasks = [asyncio.create_task(run) for run in runs]
        for task in tasks:
            task.add_done_callback(self._on_broken)
        await self._ended.wait()
        await self._drain()
        await self.managed.close()
        await asyncio.wait(tasks)

    def stop(self) -> None:
        """The first call drains; a second one, from an impatient operator, kills."""
        if self._ended.is_set():
            for child in self.children:
                child.kill()
        self._ended.set()

    def reload(self, snapshot: Snapshot, actor: str) -> None:
        """Swap settings: the gate first, which records the change; then the workers. CannotReload keeps the old."""
        for name in FIXED:
            if getattr(snapshot, name) != getattr(self._snapshot, name):
                raise CannotReload(f"'{name}' cannot change while the service runs: restart it")
        self._handing.swap(snapshot, actor, self._gate)
        self._awaited = {child.program.name for child in (self._gate, *self._workers)}
        self._swapped.clear()
        self.managed.settle(snapshot.managed)

    async def in_force(self, wait_s: float) -> bool:
        """Whether gate and workers serve by the newest settings, once they do or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._swapped.wait()
        return self._swapped.is_set()

    def refused(self, reason: str, actor: str) -> None:
        """New settings were not taken: the old stay in force, and the log and the ledger say so."""
        self._gate.send(Message(Word.REFUSED, name=actor, text=reason[:LONGEST_REASON]))

    def notice(self, text: str) -> None:
        """How the last reload ended, for the workers that are and those that will be."""
        self._notice = text
        for worker in self._workers:
            worker.send(Message(Word.NOTICE, text=text))

    def ordered(self, body: Mapping[str, str]) -> None:
        """For the ledger: what an operator did, as the body of an `admin` record."""
        self._gate.send(Message(Word.ORDERED, text=msgspec.json.encode(body).decode()))

    async def _drain(self) -> None:
        """Clients' answers first, then the ledger, then the engines: each needs the next."""
        opened = self._gate.state == "ready"
        for group, spare_s in ((self._workers, ENDS_S), ([self._gate], GATE_ENDS_S), (self._engines, ENDS_S)):
            for child in group:
                child.stop()
            await self._gone(group, self._snapshot.limits.drain_s + spare_s)
        if opened:  # what a gate refused may say anything
            self._remembering.learn()

    async def _gone(self, group: list[Child], within_s: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        while any(child.alive for child in group):
            if loop.time() > until:
                for child in group:
                    child.kill()
            await asyncio.sleep(0.02)

    # --- children ---

    def _child(self, program: Program) -> Child:
        watcher = Watcher(
            started=self._on_started,
            ready=self._on_ready,
            sealed=self._on_sealed,
            changed=self._tell,
            alive=self._on_alive,
            lost=self._on_lost,
            asked=self._on_asked,
            fatal=self._on_fatal,
        )
        return Child(program, self._environment, self._log, watcher)

    def _gate_command(self, control: int) -> list[str]:
        if lost := made_again(self._directory):
            self._log("run_directory_lost", reason=lost)
        self._remembering.keep()  # if this gate refuses, there is no better moment
        engines = ("--engines", str(self._directory))
        return [*PYTHON, "router.gate", "--control", str(control), *engines, *self._remembering.options()]

    def _worker(self, number: int) -> Program:
        name, listen = f"worker-{number}", self._listener.fileno()

        def command(control: int) -> list[str]:
            return [*PYTHON, "router.worker", "--control", str(control), "--listen", str(listen), "--name", name]

        return Program(name, command, (listen,))

    def _engine(self, engine: EngineSettings) -> Program:
        sock = self._engine_sockets[engine.name].fileno()
        from router.supervisor.engine import engine_command  # noqa: PLC0415 - most services have no engine

        state_directory = self._directory.parent / ENGINE_STATE
        command = engine_command(engine, sock, state_directory, self._snapshot.require_seal)
        return Program(f"engine-{engine.name}", command, (sock,), controlled=False)

    def _on_started(self, child: Child) -> None:
        """A new process needs its settings, and new channels between the gate and the workers."""
        if child in self._engines:
            return
        self._handing.begin(child)
        if self._notice and child is not self._gate:
            child.send(Message(Word.NOTICE, text=self._notice))
        for worker in self._workers if child is self._gate else [child]:
            self._connect(worker)
        if child is self._gate:
            for other in (*self._workers, *self._engines):
                self._pass_on_seal(other)
            self.anchoring.begun()
            self.managed.forget_demand()
            self.managed.tell()
        self._tell()

    def _on_sealed(self, child: Child) -> None:
        """The gate records its own; an engine's launcher has no log."""
        if child is not self._gate:
            self._pass_on_seal(child)
        if child in self._engines and child.attestation is not None:
            log_seal(child.attestation, self._log)

    def _pass_on_seal(self, child: Child) -> None:
        """Every gate records every seal that is in force, whichever of them came first."""
        if child.attestation is not None:
            self._gate.send(Message(Word.SEALED, name=child.program.name, text=child.attestation.to_json()))

    def _on_ready(self, child: Child, digest: str) -> None:
        """Once the gate has settings, workers that serve already are given theirs: keys may differ under one digest."""
        current = self._snapshot.policy.digest
        if child in self._workers and digest != current and self._gate.digest == current:
            self._handing.give(child)  # it began while they changed
        if child is self._gate:
            self._remembering.learn()
            self._follow_gate()
        if digest == current:
            self._awaited.discard(child.program.name)
        if not self._awaited:
            self._swapped.set()
        if all(one.state == "ready" for one in (self._gate, *self._workers)):
            self.serving.set()

    def _on_alive(self, child: Child, told: str) -> None:
        if child is self._gate:
            self._remembering.hear(told)

    def _follow_gate(self) -> None:
        if self._gate.digest == self._snapshot.policy.digest:
            for worker in self._workers:
                if worker.digest and not self._handing.has_newest(worker):
                    self._handing.give(worker)

    def _tell_gate(self, message: Message) -> None:
        self._gate.send(message)

    def _connect(self, worker: Child) -> None:
        """A channel between the gate and one worker, once both run."""
        if not (worker.alive and self._gate.alive):
            return
        try:
            for_gate, for_worker = pair()
        except OSError as error:
            self._log("no_channel", state=worker.program.name, reason=error.strerror)
            self._on_lost(worker)
            return
        self._channelless.discard(worker.program.name)
        with for_gate, for_worker:
            self._gate.send(Message(Word.CHANNEL, name=worker.program.name), [for_gate.fileno()])
            worker.send(Message(Word.CHANNEL), [for_worker.fileno()])

    def _on_asked(self, worker: Child, message: Message) -> None:
        """What the gate alone says; or what an operator asks: answered when it is in force, by the worker."""
        if worker is self._gate and message.word is Word.ANCHORED:
            self.anchoring.heard(message)
        elif worker is self._gate and message.word is Word.DEMANDS:
            self.managed.heard(message.text)
        elif message.word is not Word.NARROW:
            raise ValueError("what only the gate may say")  # by it, programs are started and stopped
        elif self.on_asked is not None and worker in self._workers:
            spawn(self._answer(worker, self.on_asked(message)), self._answering)

    async def _answer(self, worker: Child, answer: Awaitable[Message]) -> None:
        worker.send(await answer)

    def _on_lost(self, worker: Child) -> None:
        """A channel that closes while both its ends live would leave a worker that looks alive and serves nobody."""
        self._channelless.add(worker.program.name)
        if worker.program.name not in self._rejoining:
            self._rejoining.add(worker.program.name)
            asyncio.get_running_loop().call_later(CHANNEL_AGAIN_S, self._connect_again, worker)

    def _connect_again(self, worker: Child) -> None:
        self._rejoining.discard(worker.program.name)
        lost = worker.program.name in self._channelless
        if lost and worker.alive and self._gate.alive and not self._ended.is_set():
            self._log("channel_replaced", state=worker.program.name)
            self._connect(worker)

    def _tell(self) -> None:
        rows = (*(child.row for child in self.children), *self.managed.rows)
        for worker in self._workers:
            worker.send(Message(Word.PROCESSES, rows=rows))

    def _on_broken(self, task: asyncio.Task[None]) -> None:
        """Who looks after a process failed in a way that nobody thought of: nothing would start that one again."""
        if not task.cancelled() and (error := task.exception()) is not None:
            reason = described(error)
            self._log("supervisor_failed", reason=reason)
            self._on_fatal(f"the service ends: its supervisor failed unforeseen: {reason}")

    def _on_fatal(self, reason: str) -> None:
        """Starting again would not help: stop the service and say why."""
        self.failure = self.failure or reason
        self._ended.set()
