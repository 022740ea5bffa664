"""The gate's service: channels to workers on one side, the world on the other."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Coroutine
from pathlib import Path

import msgspec

from router.audit import Kind as RecordKind
from router.audit import LedgerUnavailable
from router.audit.format.proofs import ProofError
from router.audit.prove import receipt_for_caller
from router.channel.frames import COUNT, ChannelError, Kind, Payload, counted
from router.channel.link import Link, attach
from router.channel.messages import Ask, Cause, Denial, Failure, Look, Open, Warm, decode, encode
from router.gate.budget import Budget
from router.gate.clock import Clock
from router.gate.desk import Afterwards, Desk, Front
from router.gate.endings import cancelled_because
from router.gate.exchange import GateExchange
from router.gate.world import World

WORKER_LOST = "worker_lost"
LAST_WORDS_S = 5.0  # for what was cancelled: its outcome is recorded when what has passed of it is sealed
OLD_POLICY_S = 5.0
SWEEP_S = 1.0
BODIES_BACK_S = 1.0
LOADS_APART_S = 0.1  # workers learn of loads at most so often
MOST_EXCHANGES = 20_000  # of one worker
_OPEN, _BODY = Kind.OPEN, Kind.BODY  # found in their class, each would cost three calls
MOST_WARMS = 64  # of one worker: each waits as long as its caller wishes


class Gate:
    """All channels and all exchanges. One per process."""

    def __init__(self, world: World) -> None:
        self._front = Front(world)
        self._before: World | None = None
        self._desks: dict[Link, Desk] = {}
        self._lost: list[Desk] = []  # of workers that are gone, with exchanges that are not over yet
        self._tasks: set[asyncio.Task[None]] = set()
        self._warms: dict[tuple[Link, int], asyncio.Task[None]] = {}
        loop = asyncio.get_running_loop()
        self._clock = Clock(loop)
        self._afterwards = Afterwards(loop)
        self._bodies = Budget()
        self._sweeper: asyncio.TimerHandle | None = None
        self._loads_due = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def attach(self, sock: socket.socket) -> None:
        """Serve one more worker."""
        link = await attach(sock, self._on_frame, self._on_closed)
        self._desk(link)
        link.send(0, Kind.STATES, self._front.world.upstreams.states())
        link.send(0, Kind.LEDGER, self._front.world.recorder.refusal.encode())
        link.send(0, Kind.LOADS, self._front.world.upstreams.loads())

    def _desk(self, link: Link) -> Desk:
        """Frames may come before `attach` returns."""
        desk = self._desks.get(link)
        if desk is None:
            desk = Desk(link, self._clock, self._bodies, self._afterwards, self._on_over, self._front, {})
            self._desks[link] = desk
        return desk

    @property
    def world(self) -> World:
        return self._front.world

    def swap(self, world: World) -> None:
        """New exchanges live in `world`; those whose prompt is sent finish where they began.

        Those of workers that have not swapped yet may begin in the old one for OLD_POLICY_S; what `world` took away,
        they do not get.
        """
        before = self._before = self._front.world
        self._front.world = world
        self.tell_states()
        self.tell_loads()  # nobody may have been told while nobody chose by them
        asyncio.get_running_loop().call_later(OLD_POLICY_S, self._forget, before)

    def _forget(self, world: World) -> None:
        if self._before is world:
            self._before = None
        world.upstreams.close(heir=self._front.world.upstreams)

    def _world_of(self, digest: str) -> World:
        before = self._before
        if before is None or digest in (self._front.world.snapshot.policy.digest, ""):
            return self._front.world
        return before if before.snapshot.policy.digest == digest else self._front.world

    def tell_states(self) -> None:
        states = self._front.world.upstreams.states()
        for link in self._desks:
            link.send(0, Kind.STATES, states)

    def tell_refusal(self) -> None:
        """Whether the ledger takes records, and if not, why: workers must not look healthy without it."""
        for link in self._desks:
            link.send(0, Kind.LEDGER, self._front.world.recorder.refusal.encode())

    def _tell_loads_soon(self) -> None:
        """Loads change with every exchange that begins or is over: they are told together, where anybody chooses by
        them.
        """
        self._loads_due = True
        asyncio.get_running_loop().call_later(LOADS_APART_S, self.tell_loads)

    def tell_loads(self) -> None:
        self._loads_due = False
        loads = self._front.world.upstreams.loads()
        for link in self._desks:
            link.send(0, Kind.LOADS, loads)

    async def drain(self, deadline_s: float) -> None:
        """Let exchanges finish, then cancel what is left, then close the ledger: every decision has its outcome."""
        await self._until_idle(deadline_s)
        for desk in self._desks.values():
            for exchange in tuple(desk.under_way.values()):
                exchange.cancel("gate_stopped")
        await self._until_idle(LAST_WORDS_S)
        self._front.world.upstreams.close()
        for link in tuple(self._desks):
            link.close()
        self._front.world.recorder.close()

    async def _until_idle(self, most_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self._idle.wait()

    def _on_closed(self, link: Link) -> None:
        desk = self._desks.pop(link, None)
        if desk is not None and desk.under_way:
            self._lost.append(desk)
            for exchange in tuple(desk.under_way.values()):
                exchange.cancel(WORKER_LOST)
        for (of, _), warm in tuple(self._warms.items()):
            if of is link:
                warm.cancel()

    def _on_frame(self, link: Link, number: int, kind: Kind, payload: Payload) -> None:
        desk = self._desks.get(link) or self._desk(link)
        if kind is _OPEN:
            self._open(desk, number, decode(Open, payload))
            return
        exchange = desk.under_way.get(number)
        if kind is _BODY:
            if exchange is not None:
                exchange.take_body(payload)
        elif kind is Kind.CREDIT:
            if exchange is not None:
                exchange.take_credit(counted(payload))
        elif kind is Kind.CANCEL:
            self._cancel(desk, number, payload)
        else:
            self._on_question(link, number, kind, payload)

    def _cancel(self, desk: Desk, number: int, payload: Payload) -> None:
        if (exchange := desk.under_way.get(number)) is not None:
            exchange.cancel(cancelled_because(payload))
        elif (warm := self._warms.get((desk.link, number))) is not None:
            warm.cancel()  # the probing goes on; only this caller's wait is over

    def _on_question(self, link: Link, number: int, kind: Kind, payload: Payload) -> None:
        """What is answered without an exchange."""
        match kind:
            case Kind.DENY:
                self._spawn(self._deny(link, number, decode(Denial, payload)))
            case Kind.WARM:
                self._begin_warm(link, number, decode(Warm, payload))
            case Kind.RECEIPT:
                self._spawn(self._receipt(link, number, decode(Ask, payload)))
            case Kind.REPORT:
                self._spawn(self._report(link, number, decode(Look, payload)))
            case Kind.METRICS:
                world = self._front.world
                text = world.metrics.text(world.upstreams.reports(), world.admissions)
                link.send(number, Kind.ROWS, text.encode())
            case _:
                raise ChannelError(f"{kind.name} from a worker")

    def _open(self, desk: Desk, number: int, message: Open) -> None:
        if number in desk.under_way or len(desk.under_way) >= MOST_EXCHANGES:
            raise ChannelError("an exchange number twice, or too many exchanges")
        if not math.isfinite(message.deadline_s):
            raise ChannelError("a deadline that is no number")
        world = self._front.world
        if message.policy != world.snapshot.policy.digest:
            world = self._world_of(message.policy)
        if not 0 < message.body_bytes <= world.snapshot.limits.body_bytes:
            if message.policy == world.snapshot.policy.digest:
                raise ChannelError(f"a body of {message.body_bytes} bytes")
            desk.link.send(number, Kind.FAIL, encode(Failure(Cause.STALE_POLICY, "the policy has changed")))
            return
        if not self._bodies.take(message.body_bytes, world.snapshot.limits.body_bytes):
            failure = Failure(Cause.BUSY, "too many bodies are held", BODIES_BACK_S)
            self._spawn(self._refuse(desk.link, number, message, failure))
            return
        if not desk.under_way or self._front.world.chooses:
            self._one_more()
        desk.under_way[number] = GateExchange(number, desk, message, world)

    def _one_more(self) -> None:
        """The first of its worker, or workers look at loads."""
        self._idle.clear()
        if self._front.world.chooses and not self._loads_due:
            self._tell_loads_soon()
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """One timer for all the bodies that workers owe us, and for upstreams that are silent for long."""
        self._sweeper = None
        exchanges = [exchange for desk in self._desks.values() for exchange in desk.under_way.values()]
        for exchange in exchanges:
            if exchange.late:
                exchange.cancel("protocol")
            else:
                exchange.tell_record()  # usually it goes with the answer's head
        if exchanges:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _on_over(self) -> None:
        if self._front.world.chooses and not self._loads_due:
            self._tell_loads_soon()
        if self._lost:
            self._lost = [desk for desk in self._lost if desk.under_way]
        for desk in (*self._desks.values(), *self._lost):
            if desk.under_way:
                return
        self._idle.set()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _begin_warm(self, link: Link, number: int, message: Warm) -> None:
        if sum(1 for of, _ in self._warms if of is link) >= MOST_WARMS:
            link.send(number, Kind.FAIL, encode(Failure(Cause.BUSY, f"{MOST_WARMS} callers wait already")))
            return
        task = self._spawn(self._warm(link, number, message))
        self._warms[link, number] = task
        task.add_done_callback(lambda _: self._warms.pop((link, number), None))

    async def _deny(self, link: Link, number: int, denial: Denial) -> None:
        body = {name: str(value) for name, value in msgspec.structs.asdict(denial).items()}
        self._front.world.metrics.denial(denial.reason)
        try:
            index = await self._front.world.recorder.record(RecordKind.DENIAL, body)
        except LedgerUnavailable as error:
            link.send(number, Kind.FAIL, encode(Failure(Cause.AUDIT, str(error))))
            return
        link.send(number, Kind.RECORD, COUNT.pack(index))

    async def _refuse(self, link: Link, number: int, message: Open, failure: Failure) -> None:
        """Before there is an exchange; recorded first, as every denial."""
        denial = Denial(message.request_id, message.caller, message.model, message.endpoint, str(failure.cause))
        await self._deny(link, number, denial)
        link.send(number, Kind.FAIL, encode(failure))

    async def _receipt(self, link: Link, number: int, message: Ask) -> None:
        """Read in a thread: the ledger's files may be large, and other exchanges go on."""
        directory = Path(self._front.world.snapshot.audit.directory)
        try:
            text = await asyncio.to_thread(receipt_for_caller, directory, message.index, message.caller)
        except (ProofError, OSError, ValueError):
            link.send(number, Kind.FAIL, encode(Failure(Cause.NO_RECEIPT)))
            return
        link.send(number, Kind.ROWS, text.encode())

    async def _report(self, link: Link, number: int, message: Look) -> None:
        upstreams = self._front.world.upstreams
        if message.upstream and message.wait_s > 0:
            await upstreams.look(message.upstream, message.wait_s)
        link.send(number, Kind.ROWS, msgspec.json.encode(upstreams.reports(message.upstream)))

    async def _warm(self, link: Link, number: int, message: Warm) -> None:
        upstreams, policy = self._front.world.upstreams, self._front.world.snapshot.policy
        tiers = [tier for tier in policy.tiers.values() if message.tier in ("", tier.name)]
        rows = await asyncio.gather(
            *(upstreams.warm(name, tier.name, message.wait_s) for tier in tiers for name in tier.upstreams)
        )
        link.send(number, Kind.ROWS, msgspec.json.encode(rows))
