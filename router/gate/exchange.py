"""One exchange, from a worker's question to the recorded outcome. Record, then dial: in this order or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from policies import Decision
from router.audit import Kind as RecordKind
from router.audit import LedgerUnavailable
from router.audit.fields import Outcome
from router.channel.frames import COUNT, WINDOW, Kind, Payload
from router.channel.messages import Cause, Failure, Open, Queued, encode
from router.gate.admission import AT_ONCE, Admitted
from router.gate.blame import blame, praise
from router.gate.capturing import AnswerTap
from router.gate.connection import UpstreamFault
from router.gate.deadline import Deadline
from router.gate.death import of_a_program
from router.gate.desk import Desk
from router.gate.doors import Door
from router.gate.judging import judged
from router.gate.records import denial, outcome
from router.gate.relay import Relay
from router.gate.request import post
from router.gate.route import Route
from router.gate.steps import Steps, Wait, in_task
from router.gate.world import World

COMPLETED = "completed"
MISTAKE = "internal_error"  # of ours: the ending of an exchange for which no other was found
CLIENT_LEFT = "client_left"
AUDIT_BACK_S = 5.0
BODY_S = 60.0  # a worker has the body when it asks: no more is needed for the way here
T = TypeVar("T")


class GateExchange:
    """The gate's side of one exchange. It keeps the world (policy, pools) that it began in."""

    def __init__(self, number: int, desk: Desk, message: Open, world: World) -> None:
        """So many bytes of its body are reserved already."""
        self._number = number
        self._desk = desk
        self._link = desk.link
        self._open = message
        self._world = world
        self._deadline = Deadline(message.deadline_s, desk.clock)
        self._body: list[Payload] = []
        self._outgoing = b""  # what was judged, until it is sent: a stream need not hold its prompt
        self._message_macs: list[str] = []
        self._captured = ""  # the sealed prompt's name, if this exchange is captured
        self._tap: AnswerTap | None = None
        self._missing = message.body_bytes
        self._steps: Steps | None = None
        self._relay: Relay | None = None
        self._record = -1  # the decision's index, until the worker has been told
        self._ending = MISTAKE
        self._cancelled = CLIENT_LEFT
        self._reserved = message.body_bytes
        self._streams = False

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
        """Stop the upstream's work. Of one whose answer was whole already, nothing changes."""
        if self._ending == COMPLETED:
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
        try:
            route = self._decide()
            if isinstance(route, Decision):
                await self._deny(str(route.reason))
                raise UpstreamFault(Cause.POLICY, f"{route.reason}: {route.detail}")  # noqa: TRY301 - as all others
            await self._admitted(route)
        except UpstreamFault as fault:
            self._tell(Failure(fault.cause, fault.detail, fault.retry_after_s))
        except LedgerUnavailable as error:
            self._tell(Failure(Cause.AUDIT, str(error), AUDIT_BACK_S))
        except Exception:
            self._tell(Failure(Cause.PROTOCOL, "a mistake of ours"))
            raise
        except asyncio.CancelledError:
            pass  # the worker asked for it, or is gone; the outcome says so
        finally:
            self._end()

    def _tell(self, failure: Failure) -> None:
        self.tell_record()
        self._link.send(self._number, Kind.FAIL, encode(failure))

    def tell_record(self) -> None:
        """Also by the gate's sweep, when what it goes with is long in coming."""
        if (record := self._untold()) >= 0:
            self._link.send(self._number, Kind.RECORD, COUNT.pack(record))

    def _untold(self) -> int:
        """The record that the worker has not been told yet, and is told now; -1 for none."""
        record, self._record = self._record, -1
        return record

    def _on_head(self) -> int:
        self._free()
        if self._open.stream:
            self._streams = True
            self._world.recorder.stream_begins()
        return self._untold()

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

    def _slowly(self, work: Coroutine[Any, Any, T]) -> Wait[T]:
        """What may take its time, with timeouts of its own."""
        return in_task(self._link.loop, work)

    async def _admitted(self, route: Route) -> None:
        message, upstreams = self._open, self._world.upstreams
        admitted = own = AT_ONCE
        if not route.admission.take():
            admitted = await self._entered(route.admission.enter(message.caller, self._deadline.left_s))
        try:
            if not upstreams.take(message.upstream):
                own = await self._entered(upstreams.enter(message.upstream, message.caller, self._deadline.left_s))
            try:
                if admitted is not AT_ONCE or own is not AT_ONCE:
                    self._tell_queued(admitted, own)
                if self._desk.front.world is not self._world and not self._still_listed(route):
                    await self._deny(str(Cause.STALE_POLICY))
                    raise UpstreamFault(Cause.STALE_POLICY, "taken away while it waited")
                if route.captured:
                    await self._slowly(self._capture())
                body = route.records[message.continued].encoded(
                    message.request_id, message.attempt, message.body_bytes, self._message_macs, self._captured
                )
                await self._exchange(route, self._world.recorder.decide(body))
            finally:
                upstreams.leave(message.upstream)
        finally:
            route.admission.leave()

    def _still_listed(self, route: Route) -> bool:
        """What was taken away meanwhile gets nothing, however long ago its turn was asked for."""
        now = self._desk.front.world.routes.find(self._open)
        return not isinstance(now, Decision) and now.pool.rule.place == route.pool.rule.place

    async def _entered(self, waiting: Coroutine[Any, Any, Admitted]) -> Admitted:
        """A place; who gets none leaves a denial, and only then is told so."""
        try:
            return await self._slowly(waiting)
        except UpstreamFault as fault:
            await self._deny(str(fault.cause))
            raise

    async def _deny(self, reason: str) -> None:
        self._world.metrics.denial(reason)
        recorder = self._world.recorder
        await recorder.durable(recorder.append(RecordKind.DENIAL, denial(self._open, reason)))

    async def _capture(self) -> None:
        """Sealed before the decision that names it, and so before anything is sent."""
        message, recorder = self._open, self._world.recorder
        self._captured = await recorder.seal_prompt(message.request_id, self._outgoing)
        self._tap = await recorder.open_tap(message.request_id, message.caller)

    def _tell_queued(self, *waits: Admitted) -> None:
        position, waited_s = max(wait.position for wait in waits), sum(wait.waited_s for wait in waits)
        self._link.send(self._number, Kind.QUEUED, encode(Queued(position, waited_s)))

    async def _exchange(self, route: Route, index: int) -> None:
        """From here on there is a decision, so there will be exactly one outcome. It is durable, then we dial."""
        upstream = self._open.upstream
        try:
            await self._world.recorder.durable(index)
            self._record = index
            door = self._world.doors.get(upstream)
            if door is None:
                await self._ask_and_relay(route)
            else:
                await self._at_its_door(door, route)
            self._ending = COMPLETED
            await self._desk.afterwards.wait()  # the answer leaves first: nobody waits for its outcome
        except UpstreamFault as fault:
            self._ending = str(fault.cause)
            blame(self._world.upstreams, upstream, fault, self._relay)
            raise
        except LedgerUnavailable:
            self._ending = str(Cause.AUDIT)
            raise
        except asyncio.CancelledError:
            self._ending = self._cancelled
            raise
        finally:
            try:
                if self._tap is not None:
                    await self._slowly(self._tap.finish_cut())
            finally:
                told = self._outcome(index)
                self._world.recorder.conclude(told)
                self._world.metrics.exchange(self._open.tier, upstream, told)
        praise(self._world.upstreams, upstream, self._relay)

    async def _at_its_door(self, door: Door, route: Route) -> None:
        """A program of ours may have to be started first, or to wait for its turn with the card."""
        while not door.open:
            wait_s = min(route.timeouts.cold_start_s, self._deadline.left_s) if self._open.wait else 0.0
            await self._slowly(self._world.doors.enter(door, wait_s))
        with self._world.doors.inside(door):
            try:
                await self._ask_and_relay(route)
            except UpstreamFault as fault:
                raise await self._slowly(of_a_program(fault, route.pool, self._relay)) from None

    async def _ask_and_relay(self, route: Route) -> None:
        upstreams, upstream, timeouts = self._world.upstreams, self._open.upstream, route.timeouts
        ready = upstreams.is_ready(upstream)
        if not ready and self._open.wait:
            await self._slowly(self._ready(timeouts.cold_start_s))
        if not upstreams.known(upstream):
            await self._slowly(upstreams.identified(upstream, min(timeouts.cold_start_s, self._deadline.left_s)))
        if self._desk.front.world is not self._world and not self._still_listed(route):
            raise UpstreamFault(Cause.STALE_POLICY, "taken away before anything was sent")
        patience_s = timeouts.answer_s if route.waits_for_all and not self._open.stream else timeouts.first_token_s
        if not ready:
            patience_s = max(patience_s, timeouts.cold_start_s)
        request = post(route.heads[self._open.stream], self._open.request_id, self._outgoing)
        self._outgoing = b""
        relay = self._relay = Relay(self._number, self._link, route, self._deadline, request)
        relay.tap, relay.on_head = self._tap, self._on_head
        del request
        await relay.run(patience_s)

    async def _ready(self, cold_start_s: float) -> None:
        async with self._deadline.within(cold_start_s, Cause.COLD):
            await self._world.upstreams.ready(self._open.upstream)

    def _outcome(self, index: int) -> Outcome:
        deadline = self._deadline
        told = outcome(index, self._ending, self._relay, deadline.at - deadline.total_s, self._desk.clock.now())
        if self._tap is not None:
            self._tap.tell(told)
        return told
