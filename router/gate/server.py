"""The gate's service: channels to workers on one side, the world on the other."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket

from router.channel.frames import ChannelError, Kind, Payload, counted
from router.channel.link import Link, attach
from router.channel.messages import Cause, Failure, Open, decode, encode
from router.gate.budget import Budget
from router.gate.clock import Clock
from router.gate.desk import Afterwards, Desk, Front
from router.gate.endings import MISTAKE, cancelled_because
from router.gate.exchange import GateExchange
from router.gate.questions import OURS, Questions
from router.gate.world import World

WORKER_LOST = "worker_lost"
LAST_WORDS_S = 5.0  # for what was cancelled: its outcome is recorded when what has passed of it is sealed
OLD_POLICY_S = 5.0
SWEEP_S = 1.0
BODIES_BACK_S = 1.0
LOADS_APART_S = 0.1  # workers learn of loads at most so often
MOST_EXCHANGES = 20_000  # of one worker
MOST_UNREAD = 16 * 1024 * 1024  # bytes that a worker owes us to read: until it does, nothing more of it is read
_OPEN, _BODY = Kind.OPEN, Kind.BODY  # found in their class, each would cost three calls


class Gate:
    """All channels and all exchanges. One per process."""

    def __init__(self, world: World) -> None:
        self._front = Front(world)
        self._before: World | None = None
        self._desks: dict[Link, Desk] = {}
        self._channels: dict[str, Link] = {}  # the newest of each worker, by its name
        self._lost: list[Desk] = []  # of workers that are gone, with exchanges that are not over yet
        self._questions = Questions(self._front)
        loop = asyncio.get_running_loop()
        self._clock = Clock(loop)
        self._afterwards = Afterwards(loop)
        self._bodies = Budget()
        self._sweeper: asyncio.TimerHandle | None = None
        self._loads_due = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def attach(self, sock: socket.socket, worker: str = "") -> None:
        """Serve one more worker, or that of this name by a new channel: it has one, however often it asks."""
        link = await attach(sock, self._link)
        if worker:
            before, self._channels[worker] = self._channels.get(worker), link
            if before is not None:
                before.drop()
        self._desk(link)
        link.send(0, Kind.STATES, self._front.world.upstreams.states())
        link.send(0, Kind.LEDGER, self._front.world.recorder.refusal.encode())
        link.send(0, Kind.LOADS, self._front.world.upstreams.loads())

    def _link(self) -> Link:
        return Link(self._on_frame, self._on_closed, on_mistake=self._on_mistake, most_unread=MOST_UNREAD)

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
        self._questions.leave(link)

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
            self._questions.take(link, number, kind, payload)

    def _on_mistake(self, link: Link, number: int) -> None:
        """Taking a frame of this exchange failed: it ends, with an outcome where there was a decision."""
        desk = self._desks.get(link)
        exchange = desk.under_way.get(number) if desk is not None else None
        if exchange is not None:
            exchange.tell_record()
            exchange.cancel(MISTAKE)
        link.send(number, Kind.FAIL, OURS)

    def _cancel(self, desk: Desk, number: int, payload: Payload) -> None:
        if (exchange := desk.under_way.get(number)) is not None:
            exchange.cancel(cancelled_because(payload))
        else:
            self._questions.cancel(desk.link, number)

    def _open(self, desk: Desk, number: int, message: Open) -> None:
        if number in desk.under_way or len(desk.under_way) >= MOST_EXCHANGES:
            raise ChannelError("an exchange number twice, or too many exchanges")
        if not math.isfinite(message.deadline_s):
            raise ChannelError("a deadline that is no number")
        world = self._front.world
        if message.policy != world.snapshot.policy.digest:
            world = self._world_of(message.policy)
        if message.body_bytes > world.snapshot.limits.body_bytes:
            if message.policy == world.snapshot.policy.digest:
                raise ChannelError(f"a body of {message.body_bytes} bytes")
            desk.link.send(number, Kind.FAIL, encode(Failure(Cause.STALE_POLICY, "the policy has changed")))
            return
        if not self._bodies.take(message.body_bytes, world.snapshot.limits.body_bytes):
            failure = Failure(Cause.BUSY, "too many bodies are held", BODIES_BACK_S)
            self._questions.refuse(desk.link, number, message, failure)
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
