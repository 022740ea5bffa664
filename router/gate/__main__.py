"""The gate process: `python -I -m router.gate --control FD --engines DIRECTORY`. Only the supervisor starts it."""

from __future__ import annotations

import gc

gc.disable()  # nothing that is imported below is garbage; `settle_memory` switches it on again

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec
import uvloop

from router.audit import Kind as RecordKind
from router.audit import LedgerError
from router.channel.anchors import AnchorTold
from router.channel.control import Control, Message, Word, read_memory_file
from router.channel.sealed import seal_process
from router.channel.states import State, UpstreamState
from router.continuity import Known, parse
from router.descriptors import take_all
from router.expiry import tell
from router.gate.admission import Admission
from router.gate.dial import Dialler
from router.gate.doors import Doors
from router.gate.metrics import Metrics
from router.gate.opening import open_ledger
from router.gate.recorder import Recorder
from router.gate.sealing import enter_directory, gate_plan, record_seal
from router.gate.server import Gate
from router.gate.tls import needs_system_authorities
from router.gate.upstreams import Ears, Upstreams
from router.gate.world import World
from router.heap import keep_heap
from router.logs import Log, hear_libraries
from router.memory import settle_memory
from router.seal.attestation import Attestation
from router.seal.enclose import begin
from router.settings.codec import decode
from router.settings.snapshot import Snapshot
from router.unforeseen import described, hear, kept_up, spawn
from router.verdicts import Verdicts


class GateProcess:
    """What the supervisor says to the gate, in order: settings, channels, pings, drain."""

    def __init__(self, control: socket.socket, engine_directory: Path, continues: Known | None = None) -> None:
        self._engines = engine_directory
        self._continues = continues
        self._log = Log("gate")
        descriptors = take_all()
        self._log("descriptors", limit=descriptors.limit)
        self._dialler = Dialler(engine_directory, descriptors=descriptors)
        self._keepers: list[asyncio.Task[None]] = []
        self._gate: Gate | None = None
        self._drain_s = 20.0
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._anchors: set[asyncio.Task[None]] = set()  # witnesses that are being asked
        self._doors = Doors(lambda text: self._control.send(Message(Word.DEMANDS, text=text)))
        self._control = Control(control, self._on_message, self._stopping.set)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        await self._stopping.wait()
        for task in self._anchors:
            task.cancel()  # each writes its outcome
        await asyncio.gather(*self._anchors, return_exceptions=True)
        if self._gate is not None:
            await self._gate.drain(self._drain_s)

    def _on_message(self, message: Message, descriptors: list[int]) -> None:
        match message.word:
            case Word.SETTINGS:
                self._swap(descriptors[0], message.name)
            case Word.REFUSED:
                self._note_refusal(message)
            case Word.SEALED:
                self._note_seal(message)
            case Word.CHANNEL:
                self._attach(descriptors[0], message.name)
            case Word.PING:
                self._pong()
            case Word.DRAIN:
                self._stopping.set()
            case _:
                self._on_program(message)
                for descriptor in descriptors:
                    os.close(descriptor)

    def _pong(self) -> None:
        """With how far the ledger goes: if an older state is put in its place, somebody else knows."""
        text = self._gate.world.recorder.known_text if self._gate is not None else ""
        self._control.send(Message(Word.PONG, text=text))

    def _on_program(self, message: Message) -> None:
        """What the supervisor says of the programs that it runs."""
        if message.word is Word.PROGRAMS:
            self._hear_programs(message.text)
        elif message.word is Word.PROGRAM:
            self._note_program(message)
        elif message.word is Word.ANCHOR:
            spawn(self._anchor(message), self._anchors)
        elif message.word is Word.ORDERED and self._gate is not None:
            self._gate.world.recorder.note(RecordKind.ADMIN, msgspec.json.decode(message.text))

    def _attach(self, descriptor: int, worker: str) -> None:
        sock = socket.socket(fileno=descriptor)
        if self._gate is None:
            sock.close()
            return
        spawn(self._gate.attach(sock, worker), self._tasks)

    async def _anchor(self, message: Message) -> None:
        """An operator has a witness asked; nobody else dials."""
        from router.gate.witnessing import ask_witness  # noqa: PLC0415 - rare, and a start should be quick

        told = AnchorTold(trouble="the gate is starting: try again")
        if self._gate is not None:
            told = await ask_witness(message.name, message.text, self._gate.world, self._dialler)
        self._control.send(Message(Word.ANCHORED, name=message.name, text=msgspec.json.encode(told).decode()))

    def _swap(self, descriptor: int, actor: str) -> None:
        """New settings. If they cannot be taken the old ones stay in force; where there are none, this process ends."""
        try:
            self._take(decode(read_memory_file(descriptor)), actor)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is said
            if self._gate is None:
                self._log("settings_refused", reason=described(error))
                self._stopping.set()
            self._note_refusal(Message(Word.REFUSED, name=actor, text=described(error)))

    def _take(self, snapshot: Snapshot, actor: str) -> None:
        """The first settings open the ledger; later ones are recorded, then swapped in."""
        if any(needs_system_authorities(rule, snapshot) for rule in snapshot.policy.upstreams.values()):
            self._dialler.system_tls()  # before the seal, and before somebody waits
        if self._gate is None:
            recorder = self._open_ledger(snapshot)
            if recorder is None:
                self._stopping.set()
                return
            recorder.note(RecordKind.POLICY, {"digest": snapshot.policy.digest, "source": snapshot.source})
            world = self._world(snapshot, recorder, None)
            self._gate = Gate(world)
        else:
            before = self._gate.world
            change = {"digest": snapshot.policy.digest, "previous": before.snapshot.policy.digest, "result": "taken"}
            world = self._world(snapshot, before.recorder, before.upstreams)
            before.recorder.note(RecordKind.RELOAD, {**change, "source": snapshot.source, "actor": actor})
            self._gate.swap(world)
        self._drain_s = snapshot.limits.drain_s
        for name, state in self._doors.states().items():
            world.upstreams.program(name, state)
        world.upstreams.start()
        self._keep_warm(world)
        settle_memory()
        self._control.send(Message(Word.READY, text=snapshot.policy.digest))

    def _keep_warm(self, world: World) -> None:
        for task in self._keepers:
            task.cancel()
        tiers = [tier for tier in world.snapshot.tiers.values() if tier.warm_every_s > 0]
        keeping: dict[str, Callable[[], Awaitable[None]]] = {
            f"warm-ups of tier '{tier.name}'": partial(
                world.upstreams.keep_warm, world.snapshot.policy.tiers[tier.name].upstreams, tier.warm_every_s
            )
            for tier in tiers
        }
        keeping["warnings of certificates that end"] = partial(tell, partial(_certificates, world), self._log)
        self._keepers = [asyncio.create_task(kept_up(what, work, self._log)) for what, work in keeping.items()]

    def _world(self, snapshot: Snapshot, recorder: Recorder, before: Upstreams | None) -> World:
        kept = self._gate.world if self._gate is not None else None
        admissions = {
            name: kept.admissions[name]
            if kept is not None and kept.snapshot.tiers.get(name) == tier
            else Admission(tier.concurrency, tier.queue)
            for name, tier in snapshot.tiers.items()
        }
        metrics = kept.metrics if kept is not None else Metrics()
        changed = partial(self._on_change, metrics)
        self._doors.settle({name: one.exclusive for name, one in snapshot.managed.items()})
        ears = Ears(changed, self._tell_loads, partial(self._note_identity, recorder), self._doors.poke)
        upstreams = Upstreams(snapshot, self._dialler, ears, before)
        return World(snapshot, recorder, upstreams, admissions, Verdicts(snapshot.policy), metrics, self._doors)

    def _open_ledger(self, snapshot: Snapshot) -> Recorder | None:
        """None when there is no ledger to be had: then there is no service either."""
        try:
            directory = enter_directory(snapshot.audit.directory, self._continues)
            seal = seal_process(gate_plan(directory, self._control), snapshot.require_seal, self._control, self._log)
            if seal is None:
                return None
            recorder = Recorder(open_ledger(snapshot), self._note_ledger)
        except LedgerError as error:
            self._log("ledger_refused", reason=str(error))
            self._control.send(Message(Word.FATAL, text=str(error)))
            return None
        record_seal(recorder, "gate", seal)
        return recorder

    def _note_ledger(self, refusal: str) -> None:
        """The ledger takes no more records, or takes them again."""
        self._log("ledger_refuses" if refusal else "ledger_writes_again", reason=refusal)
        if self._gate is not None:
            self._gate.tell_refusal()
        self._pong()

    def _note_seal(self, message: Message) -> None:
        if self._gate is not None:
            record_seal(self._gate.world.recorder, message.name, Attestation.from_json(message.text))

    def _note_identity(self, recorder: Recorder, body: dict[str, object]) -> None:
        recorder.note(RecordKind.PROBE, body)
        self._log("upstream_identity", **{field: str(body[field]) for field in ("upstream", "state", "reason")})

    def _note_refusal(self, message: Message) -> None:
        if self._gate is None:
            return
        world = self._gate.world
        digest = world.snapshot.policy.digest
        change = {"digest": digest, "previous": digest, "result": "refused", "source": world.snapshot.source}
        world.recorder.note(RecordKind.RELOAD, {**change, "reason": message.text, "actor": message.name})
        self._log("reload_refused", reason=message.text)

    def _on_change(self, metrics: Metrics, upstream: str, before: State, after: UpstreamState, found: str) -> None:
        """Each change of an upstream's state: told to the workers, counted and logged with its reason."""
        metrics.transition(upstream, before, after.state)
        told = {"upstream": upstream, "before": before.value, "state": after.state.value, "reason": after.reason}
        self._log("upstream_state", **told, **({"found": found} if found else {}))
        if after.state is State.READY:
            self._doors.found_ready(upstream)
        if self._gate is not None:
            self._gate.tell_states()

    def _hear_programs(self, text: str) -> None:
        """Acted upon first, and then answered: the answer says so."""
        for name, state in self._doors.heard(text).items():
            if self._gate is not None:
                self._gate.world.upstreams.program(name, state)
        self._doors.tell()

    def _note_program(self, message: Message) -> None:
        """What was done to a program of ours, and why."""
        if self._gate is not None:
            action, _, reason = message.text.partition("\n")
            self._gate.world.recorder.note(
                RecordKind.ADMIN, {"action": action, "target": message.name, "result": reason}
            )

    def _tell_loads(self) -> None:
        if self._gate is not None:
            self._gate.tell_loads()


def _certificates(world: World) -> list[tuple[str, float]]:
    return [(f"the upstream '{report.name}'", report.certificate_ends) for report in world.upstreams.reports()]


async def _main(control: int, engine_directory: Path, continues: Known | None) -> None:
    hear(asyncio.get_running_loop(), Log("gate"))
    await GateProcess(socket.socket(fileno=control), engine_directory, continues).run()


def main() -> None:
    """`--continues`: the log that the ledger must go on with, and its size so far."""
    given = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))  # argparse would be a thirtieth of all imports
    continues = parse(given["--continues"]) if "--continues" in given else None
    begin()
    keep_heap()
    hear_libraries(Log("gate"))
    uvloop.run(_main(int(given["--control"]), Path(given["--engines"]), continues))


if __name__ == "__main__":
    main()
