"""One exchange, from a worker's question to the recorded outcome. Record, then dial: in this order or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from policies import Decision, Endpoint, Reach, Reason, RequestFacts, judge_body
from router.audit import Kind as RecordKind
from router.audit import LedgerUnavailable
from router.channel.frames import COUNT, PIECE, Kind
from router.channel.link import Link
from router.channel.messages import Cause, Failure, Open, Queued, encode
from router.gate.admission import Admitted
from router.gate.capturing import AnswerTap
from router.gate.connection import UpstreamFault
from router.gate.deadline import Deadline
from router.gate.digests import texts_of
from router.gate.records import decision, denial
from router.gate.relay import Relay
from router.gate.world import World

COMPLETED = "completed"
MISTAKE = "internal_error"  # of ours: the ending of an exchange for which no other was found
CLIENT_LEFT = "client_left"
AUDIT_BACK_S = 5.0
BODY_S = 60.0  # a worker has the body when it asks: no more is needed for the way here
NOT_THE_UPSTREAMS = frozenset({Cause.POLICY, Cause.TOTAL_TIMEOUT, Cause.TOO_LARGE})
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class GateExchange:
    """The gate's side of one exchange. It keeps the world (policy, pools) that it began in."""

    def __init__(
        self, number: int, link: Link, message: Open, world: World, over: Callable[[], None],
        give_back: Callable[[int], None],
    ) -> None:  # fmt: skip
        """`over` hears when it is, `give_back` when so many bytes of its body are held no longer."""
        self._number = number
        self._link = link
        self._open = message
        self._world = world
        self._over = over
        self._deadline = Deadline(message.deadline_s, link.loop)
        self._body: list[bytes] = []
        self._outgoing = b""  # what was judged, until it is sent: a stream need not hold its prompt
        self._message_macs: list[str] = []
        self._captured: dict[str, object] = {}  # the sealed prompt's name, if this exchange is captured
        self._tap: AnswerTap | None = None
        self._missing = message.body_bytes
        self._task: asyncio.Task[None] | None = None
        self._relay: Relay | None = None
        self._ending = MISTAKE
        self._cancelled = CLIENT_LEFT
        self._begun = False  # the task has run
        self._give_back = give_back
        self._reserved = message.body_bytes

    def take_body(self, data: bytes) -> None:
        """Request bytes. The body is whole before anything is decided: what was checked is what is sent."""
        self._missing -= len(data)
        if len(data) > PIECE or self._missing < 0:
            self.cancel("protocol")
            return
        self._body.append(data)
        if self._missing > 0:
            self._link.send(self._number, Kind.CREDIT, COUNT.pack(len(data)))
        elif self._task is None:
            self._task = self._link.loop.create_task(self._run())
        else:
            self.cancel("protocol")

    def take_credit(self, amount: int) -> None:
        if self._relay is not None:
            self._relay.grant(amount)

    def cancel(self, ending: str = CLIENT_LEFT) -> None:
        self._cancelled = ending
        if self._task is not None:
            self._task.cancel()
        if not self._begun:
            self._end()

    def _end(self) -> None:
        """Once. Nothing that refers to us is kept, so that no exchange waits for Python to look for cycles."""
        self._free()
        self._relay = self._task = None
        self._over()

    def _free(self) -> None:
        """The upstream has the body, or will not have it."""
        self._give_back(self._reserved)
        self._reserved = 0

    @property
    def late(self) -> bool:
        """The worker owes us its body for too long."""
        return self._missing > 0 and self._deadline.past_s > BODY_S

    async def _run(self) -> None:
        self._begun = True
        try:
            self._outgoing = await self._decide()
            await self._admitted()
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
        self._link.send(self._number, Kind.FAIL, encode(failure))

    async def _decide(self) -> bytes:
        """Decide again, from names and from the body itself: a worker is not trusted to have decided. What to send."""
        message = self._open
        policy = self._world.snapshot.policy
        if message.policy != policy.digest:
            raise UpstreamFault(Cause.STALE_POLICY, "the policy has changed")
        reach = Reach(message.reach) if message.reach is not None else None
        facts = RequestFacts(message.endpoint, message.model, message.stream, message.body_bytes, reach)
        verdict = self._world.verdicts.exchange(facts, message.caller, message.tier, message.upstream)
        body = b""
        if verdict.allowed:
            served_model = policy.models[message.model].served.get(message.tier, message.model)
            verdict, body = self._judge_body(served_model)
        if not verdict.allowed:
            await self._deny(str(verdict.reason))
            raise UpstreamFault(Cause.POLICY, f"{verdict.reason}: {verdict.detail}")
        return body

    def _judge_body(self, served_model: str) -> tuple[Decision, bytes]:
        """The bytes that will be sent, judged here once more: for this model, and without anything that re-aims."""
        given = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        try:
            document = _decode(given)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return Decision(allowed=False, reason=Reason.BODY_UNREADABLE), b""
        if document.get("model") != served_model:
            return Decision(allowed=False, reason=Reason.MODEL_UNKNOWN), b""
        self._message_macs = self._world.recorder.digests(self._open.caller, texts_of(document))
        return judge_body(document), _encode(document)  # what was judged is what is sent, to every parser

    async def _admitted(self) -> None:
        message, left_s = self._open, self._deadline.left_s
        admission = self._world.admissions[message.tier]
        admitted = await self._entered(admission.enter(message.caller, left_s))
        try:
            own = await self._entered(self._world.upstreams.enter(message.upstream, message.caller, left_s))
            try:
                self._tell_queued(admitted, own)
                await self._capture()
                await self._exchange(self._world.recorder.append(RecordKind.DECISION, self._decision()))
            finally:
                self._world.upstreams.leave(self._open.upstream)
        finally:
            admission.leave()

    async def _entered(self, waiting: Awaitable[Admitted]) -> Admitted:
        """A place; who gets none leaves a denial, and only then is told so."""
        try:
            return await waiting
        except UpstreamFault as fault:
            await self._deny(str(fault.cause))
            raise

    async def _deny(self, reason: str) -> None:
        self._world.metrics.denial(reason)
        await self._world.recorder.record(RecordKind.DENIAL, denial(self._open, reason))

    async def _capture(self) -> None:
        """Sealed before the decision that names it, and so before anything is sent."""
        message, recorder = self._open, self._world.recorder
        if self._world.snapshot.capture.wants(message.caller, message.model):
            self._captured = {"capture": await recorder.seal_prompt(message.request_id, self._outgoing)}
            self._tap = await recorder.open_tap(message.request_id, message.caller)

    def _tell_queued(self, *waits: Admitted) -> None:
        position = max(wait.position for wait in waits)
        if position:
            waited_s = sum(wait.waited_s for wait in waits)
            self._link.send(self._number, Kind.QUEUED, encode(Queued(position, waited_s)))

    async def _exchange(self, index: int) -> None:
        """From here on there is a decision, so there will be exactly one outcome. It is durable, then we dial."""
        upstream = self._open.upstream
        try:
            await self._world.recorder.durable(index)
            self._link.send(self._number, Kind.RECORD, COUNT.pack(index))
            await self._at_its_door()
            self._ending = COMPLETED
        except UpstreamFault as fault:
            self._ending = str(fault.cause)
            if self._relay is not None and self._relay.caught is not None:
                self._world.upstreams.caught(upstream, self._relay.caught)
            if fault.cause not in NOT_THE_UPSTREAMS or self._waited_in_vain(fault):
                self._world.upstreams.failed(upstream, fault)
            raise
        except LedgerUnavailable:
            self._ending = str(Cause.AUDIT)
            raise
        except asyncio.CancelledError:
            self._ending = self._cancelled
            raise
        finally:
            try:
                await self._seal_rest()
            finally:
                outcome = self._outcome(index)
                self._world.recorder.note(RecordKind.OUTCOME, outcome)
                self._world.metrics.exchange(self._open.tier, upstream, outcome)
        failure = self._relay.failure if self._relay is not None else None
        if failure is not None:
            self._world.upstreams.failed(upstream, UpstreamFault(failure.cause, failure.detail, failure.retry_after_s))
        else:
            self._world.upstreams.succeeded(upstream, self._first_byte_s())

    async def _seal_rest(self) -> None:
        """Of an answer that was cut, what has passed; how it ended is told already."""
        if self._tap is not None:
            with contextlib.suppress(LedgerUnavailable):
                await self._tap.finish()

    async def _at_its_door(self) -> None:
        """A program of ours may have to be started first, or to wait for its turn with the card."""
        doors = self._world.doors
        door = doors.get(self._open.upstream)
        if door is None:
            await self._ask_and_relay()
            return
        cold_start_s = self._world.snapshot.tiers[self._open.tier].timeouts.cold_start_s
        await doors.enter(door, min(cold_start_s, self._deadline.left_s) if self._open.wait else 0.0)
        with doors.inside(door):
            await self._ask_and_relay()

    async def _ask_and_relay(self) -> None:
        upstreams, upstream = self._world.upstreams, self._open.upstream
        timeouts = self._world.snapshot.tiers[self._open.tier].timeouts
        ready = upstreams.is_ready(upstream)
        if not ready and self._open.wait:
            async with self._deadline.within(timeouts.cold_start_s, Cause.COLD):
                await upstreams.ready(upstream)
        await upstreams.identified(upstream, min(timeouts.cold_start_s, self._deadline.left_s))
        self._relay = Relay(self._number, self._link, self._open, timeouts, self._deadline)
        self._relay.tap = self._tap
        self._relay.on_head = self._free
        body, self._outgoing = [self._outgoing], b""
        waits_for_all = not self._open.stream and self._open.endpoint is not Endpoint.EMBEDDINGS
        patience_s = timeouts.answer_s if waits_for_all else timeouts.first_token_s
        if not ready:
            patience_s = max(patience_s, timeouts.cold_start_s)
        await self._relay.run(upstreams.pool(upstream), upstreams.credential(upstream), body.pop(), patience_s)

    def _first_byte_s(self) -> float:
        """How long the upstream took, once asked, to begin; for a whole answer that is all of it."""
        relay = self._relay
        return relay.asked_s - relay.first_byte_s if relay is not None and relay.first_byte_s is not None else 0.0

    def _waited_in_vain(self, fault: UpstreamFault) -> bool:
        """The tier's time went by while an upstream that was asked early said nothing: that is its failure."""
        relay = self._relay
        if relay is None or fault.cause is not Cause.TOTAL_TIMEOUT:
            return False
        return relay.first_byte_s is None and relay.asked_s > self._open.deadline_s / 2

    # --- records ---

    def _decision(self) -> dict[str, object]:
        body = decision(self._open, self._world.snapshot.policy)
        return {**body, "message_macs": self._message_macs, **self._captured}

    def _outcome(self, index: int) -> dict[str, object]:
        relay, total_s = self._relay, self._open.deadline_s
        first = relay.first_byte_s if relay is not None else None
        return {
            "decision": index,
            "ending": self._ending,
            "status": relay.status if relay is not None else 0,
            "sent_bytes": relay.sent if relay is not None else 0,
            "received_bytes": relay.received if relay is not None else 0,
            "first_byte_ms": round((total_s - first) * 1000, 3) if first is not None else -1.0,
            "total_ms": round((total_s - self._deadline.left_s) * 1000, 3),
            **(self._tap.told() if self._tap is not None else {}),
        }
