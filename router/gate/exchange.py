"""One exchange, from a worker's question to the recorded outcome. Record, then dial: in this order or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from policies import Decision
from router.audit import Kind as RecordKind
from router.channel.frames import COUNT, WINDOW, Kind, Payload
from router.channel.messages import Cause, Failure, Open, Queued, encode
from router.gate.admission import AT_ONCE, Admitted
from router.gate.approach import until_open, until_ready
from router.gate.blame import blame, praise
from router.gate.capturing import AnswerTap
from router.gate.connection import UpstreamFault
from router.gate.deadline import Deadline
from router.gate.death import of_a_program
from router.gate.desk import Desk
from router.gate.endings import CLIENT_LEFT, COMPLETED, MISTAKE, ending_of, outcome
from router.gate.judging import judged
from router.gate.records import denial
from router.gate.relay import Relay
from router.gate.request import post
from router.gate.route import Route
from router.gate.steps import Steps, Wait, in_task
from router.gate.world import World

BODY_S = 60.0  # a worker has the body when it asks: no more is needed for the way here


class GateExchange:
    """The gate's side of one exchange. It keeps the world (policy, pools) that it began in."""

    _outgoing = b""  # what was judged, until it is sent: a stream need not hold its prompt
    _captured = ""  # the sealed prompt's name, if this exchange is captured
    _tap: AnswerTap | None = None
    _steps: Steps | None = None
    _relay: Relay | None = None
    _places = 0  # that it has: 1 is the tier's, 2 the upstream's too
    _index = -1  # of the decision, once there is one: then there will be exactly one outcome
    _record = -1  # the same, until the worker has been told
    _ending = ""  # until it is known
    _cancelled = CLIENT_LEFT
    _streams = False

    def __init__(self, number: int, desk: Desk, message: Open, world: World) -> None:
        """So many bytes of its body are reserved already."""
        self._number = number
        self._desk = desk
        self._link = desk.link
        self._open = message
        self._world = world
        self._deadline = Deadline(message.deadline_s, desk.clock)
        self._body: list[Payload] = []
        self._missing = self._reserved = message.body_bytes

    def take_body(self, data: Payload) -> None:
        """Request bytes. The body is whole before anything is decided: what was checked is what is sent."""
        self._missing -= len(data)
        if len(data) > WINDOW or self._missing < 0:
            self.cancel("protocol")
        elif self._missing > 0:
            self._body.append(bytes(data))
            if self._open.body_bytes > WINDOW:
                self._link.send(self._number, Kind.CREDIT, COUNT.pack(len(data)))
        elif self._steps is None:
            self._body.append(data)
            self._steps = Steps(self._run(), self._link.loop)
            self._steps.go_on()  # it reads the body before it waits for anything
            self._body.clear()
        else:
            self.cancel("protocol")

    def take_credit(self, amount: int) -> None:
        if self._relay is not None:
            self._relay.grant(amount)

    def cancel(self, ending: str = CLIENT_LEFT) -> None:
        """Stop the upstream's work. Of one that has ended already, though it may still be sealed, nothing changes."""
        if self._ending:
            return
        self._cancelled = ending
        if self._steps is not None:
            self._steps.cancel()
        else:
            self._end()

    def _end(self) -> None:
        """Once. Nothing that refers to us is kept, so that no exchange waits for Python to look for cycles."""
        if self._reserved:
            self._free()
        if self._streams:
            self._world.recorder.stream_ends()
        if self._places > 1:
            self._world.upstreams.leave(self._open.upstream)
        if self._places:
            self._world.admissions[self._open.tier].leave()
        self._relay = self._steps = None
        self._desk.over(self._number)

    def _free(self) -> None:
        """The upstream has the body, or will not have it."""
        self._desk.bodies.give(self._reserved)
        self._reserved = 0

    @property
    def late(self) -> bool:
        """The worker owes us its body for too long."""
        return self._missing > 0 and self._deadline.past_s > BODY_S

    async def _run(self) -> None:
        """What every exchange waits for is awaited here: a wait further down enters each level above it once more."""
        try:
            route = self._decide()
            if isinstance(route, Decision):
                await self._deny(str(route.reason))
                raise UpstreamFault(Cause.POLICY, f"{route.reason}: {route.detail}")  # noqa: TRY301 - as all others
            if not self._enters(route):
                await self._wait_its_turn(route)
            await self._decided(route)
            self._record = self._index
            if self._may_ask(route):
                await self._ask(route, ready=True)
            else:
                await self._ask_at_its_door(route)
            self._ending = COMPLETED
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a mistake of ours is raised again
            await self._fail(error)
        else:
            self._desk.afterwards.do(self._over)  # the answer leaves first: nobody waits for its outcome

    async def _fail(self, error: BaseException) -> None:
        """The ledger hears of it first. A mistake of ours is raised again."""
        self._ending, failure = ending_of(error, self._cancelled)
        if isinstance(error, UpstreamFault) and self._index >= 0:
            blame(self._world.upstreams, self._open.upstream, error, self._relay)
        try:
            if self._tap is not None:
                await in_task(self._link.loop, self._tap.finish_cut())
        finally:
            self._over(failure)
        if self._ending == MISTAKE and not isinstance(error, UpstreamFault | asyncio.CancelledError):
            raise error

    def _over(self, failure: Failure | None = None) -> None:
        try:
            if self._index >= 0:
                self._conclude()
            if failure is not None:
                self._tell(failure)
        finally:
            self._end()

    def _conclude(self) -> None:
        """Of each decision there is one outcome."""
        began = self._deadline.at - self._deadline.total_s
        told = outcome(self._index, self._ending, self._relay, began, self._desk.clock.now())
        if self._tap is not None:
            self._tap.tell(told)
        self._world.recorder.conclude(told)
        self._world.metrics.exchange(self._open.tier, self._open.upstream, told)
        if self._ending is COMPLETED:
            praise(self._world.upstreams, self._open.upstream, self._relay)

    def _tell(self, failure: Failure) -> None:
        self.tell_record()
        self._link.send(self._number, Kind.FAIL, encode(failure))

    def tell_record(self) -> None:
        """Also by the gate's sweep, when what it goes with is long in coming."""
        record, self._record = self._record, -1
        if record >= 0:
            self._link.send(self._number, Kind.RECORD, COUNT.pack(record))

    def _on_head(self) -> int:
        """The record that the worker has not been told yet, and is told now; -1 for none."""
        self._free()
        if self._open.stream:
            self._streams = True
            self._world.recorder.stream_begins()
        record, self._record = self._record, -1
        return record

    def _decide(self) -> Route | Decision:
        """Decide again, from names and from the body itself: a worker is not trusted to have decided."""
        message = self._open
        if message.policy != self._world.snapshot.policy.digest:
            raise UpstreamFault(Cause.STALE_POLICY, "the policy has changed")
        route = self._world.routes.find(message)
        if isinstance(route, Decision):
            return route
        given = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        found = judged(given, route.served_model)
        if not found.verdict.allowed:
            return found.verdict
        self._outgoing = found.body
        self._message_macs = self._world.recorder.digests(message.caller, found.texts)
        return route

    def _enters(self, route: Route) -> bool:
        """Takes its places. False: something is to be waited for, or to be looked at, before there is a decision."""
        if not route.admission.take():
            return False
        self._places = 1
        if not self._world.upstreams.take(self._open.upstream):
            return False
        self._places = 2
        return self._desk.front.world is self._world and not route.captured

    async def _wait_its_turn(self, route: Route) -> None:
        message, upstreams, waits = self._open, self._world.upstreams, list[Admitted]()
        if not self._places:
            waits.append(await self._entered(route.admission.enter(message.caller, self._deadline.left_s)))
            self._places = 1
        if self._places == 1 and not upstreams.take(message.upstream):
            own = upstreams.enter(message.upstream, message.caller, self._deadline.left_s)
            waits.append(await self._entered(own))
        self._places = 2
        if any(wait is not AT_ONCE for wait in waits):
            told = Queued(max(wait.position for wait in waits), sum(wait.waited_s for wait in waits))
            self._link.send(self._number, Kind.QUEUED, encode(told))
        if self._desk.front.world is not self._world and not self._still_listed(route):
            await self._deny(str(Cause.STALE_POLICY))
            raise UpstreamFault(Cause.STALE_POLICY, "taken away while it waited")
        if route.captured:
            captured = self._world.recorder.capture(message.request_id, message.caller, self._outgoing)
            self._captured, self._tap = await in_task(self._link.loop, captured)

    def _still_listed(self, route: Route) -> bool:
        """What was taken away meanwhile gets nothing, however long ago its turn was asked for."""
        now = self._desk.front.world.routes.find(self._open)
        return not isinstance(now, Decision) and now.pool.rule.place == route.pool.rule.place

    async def _entered(self, waiting: Coroutine[Any, Any, Admitted]) -> Admitted:
        """A place; who gets none leaves a denial, and only then is told so."""
        try:
            return await in_task(self._link.loop, waiting)
        except UpstreamFault as fault:
            await self._deny(str(fault.cause))
            raise

    async def _deny(self, reason: str) -> None:
        self._world.metrics.denial(reason)
        recorder = self._world.recorder
        await recorder.durable(recorder.append(RecordKind.DENIAL, denial(self._open, reason)))

    def _decided(self, route: Route) -> Wait[None]:
        """The decision, when it is durable. LedgerUnavailable: then nothing may be sent."""
        message, recorder = self._open, self._world.recorder
        body = route.records[message.continued].encoded(
            message.request_id, message.attempt, message.body_bytes, self._message_macs, self._captured
        )
        self._index = recorder.decide(body)
        return recorder.durable(self._index)

    def _may_ask(self, route: Route) -> bool:
        """At once: nothing was taken away meanwhile, no program of ours is behind it, and it is ready and known."""
        world = self._world
        here = self._desk.front.world is world and not route.pool.rule.managed
        return here and world.upstreams.serves(self._open.upstream)

    async def _ask_when_ready(self, route: Route) -> None:
        world, message = self._world, self._open
        ready = await until_ready(self._link.loop, world.upstreams, message, route.timeouts, self._deadline)
        if self._desk.front.world is not world and not self._still_listed(route):
            raise UpstreamFault(Cause.STALE_POLICY, "taken away before anything was sent")
        await self._ask(route, ready=ready)

    def _ask(self, route: Route, *, ready: bool) -> Coroutine[Any, Any, None]:
        """From here on it is sent. `ready`: it was when its turn came."""
        timeouts = route.timeouts
        patience_s = timeouts.answer_s if route.waits_for_all and not self._open.stream else timeouts.first_token_s
        if not ready:
            patience_s = max(patience_s, timeouts.cold_start_s)
        request = post(route.heads[self._open.stream], self._open.request_id, self._outgoing)
        self._outgoing = b""
        relay = self._relay = Relay(self._number, self._link, route, self._deadline, request)
        relay.tap, relay.on_head = self._tap, self._on_head
        return relay.run(patience_s)

    async def _ask_at_its_door(self, route: Route) -> None:
        """A program of ours may have to be started first, or to wait for its turn with the card."""
        door = self._world.doors.get(self._open.upstream)
        if door is None:
            await self._ask_when_ready(route)
            return
        await until_open(
            self._link.loop,
            self._world.doors,
            door,
            self._deadline,
            route.timeouts.cold_start_s if self._open.wait else 0.0,
        )
        with self._world.doors.inside(door):
            try:
                await self._ask_when_ready(route)
            except UpstreamFault as fault:
                raise await in_task(self._link.loop, of_a_program(fault, route.pool, self._relay)) from None
