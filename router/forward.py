"""Steps 5-7: try the planned attempts through the gate, and pass on the first answer that begins.

Nothing is tried again once a content byte went out. A client that leaves cancels `run`; what is under way then is
cancelled in its `finally` by a frame, without an await, so no cancellation can swallow it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from policies import Reach
from router.answer import (
    EVENT_STREAM,
    JSON,
    Answer,
    Hear,
    Whole,
    begin,
    deliver,
    deliver_whole,
    headers_of,
    lines_of,
    timing,
    whole_at_once,
)
from router.body import Inbound, spelled
from router.channel.client import GateClient
from router.channel.exchange import Exchange, ExchangeFailed
from router.channel.messages import Cause, Failure, Open
from router.continuation import Spoken, continued, marker
from router.errors import UpstreamFailed
from router.failures import MOVE_ON, error_of
from router.heartbeat import Heartbeat
from router.race import race
from router.reply import Headers, Reply
from router.settings.snapshot import Snapshot
from router.tiers import Attempt

HEARTBEAT_S = 10.0
T = TypeVar("T")


class Forwarder(msgspec.Struct, eq=False):
    """One request's attempts. `record` is the ledger index of the newest decision."""

    _snapshot: Snapshot
    _gate: GateClient
    _inbound: Inbound
    _caller: str
    _model: str
    _ceiling: Reach
    _plan: Callable[[], Iterator[Attempt]]
    _began: float = msgspec.field(default_factory=time.monotonic)
    _until: dict[str, float] = {}  # by tier, from its first attempt on: when its `total` is over
    _under_way: list[Exchange] = []
    _asleep: list[Attempt] = []
    _failures: list[Failure] = []
    _first: tuple[Attempt, Iterator[Attempt]] | None = None  # planned by `begin`, and what comes after it
    _opened: Exchange | None = None  # by `begin`, for the first
    _spoken: Spoken | None = None  # of a stream that may be continued
    _said: str = ""  # what an upstream had said when it broke off
    record: int | None = None

    def begin(self) -> Exchange | None:
        """Open the first attempt, if nothing but its answer is to be waited for: no heartbeat, no second beside it.

        Its answer may then be `answered`; `run` goes on from here in any case.
        """
        if self._inbound.facts.stream:
            return None
        plan = self._plan()
        attempt = next(plan, None)
        if attempt is None:
            return None
        self._first = attempt, plan  # it was this attempt's turn, whoever opens it
        tier = self._snapshot.tiers[attempt.tier]
        if tier.hedge_after_s or tier.timeouts.total_s <= 0:
            return None
        self._until[attempt.tier] = self._began + tier.timeouts.total_s
        exchange = self._open(attempt, tier.timeouts.total_s)
        if exchange.over:  # there is no gate now: `run` plans when there is one
            self._until.clear()
            self._first = None
            return None
        self._opened = exchange
        self._under_way.append(exchange)
        return exchange

    @property
    def begun(self) -> bool:
        """`begin` has opened an exchange."""
        return self._opened is not None

    def answered(self) -> Whole | None:
        """The answer, where it came whole and at once and is good; None: `run` has a closer look."""
        exchange = self._opened
        body = whole_at_once(exchange, self._snapshot.limits.answer_bytes) if exchange is not None else None
        if body is None or exchange is None or exchange.head is None or self._first is None:
            return None
        head, model = exchange.head, self._model if self._inbound.chosen else ""
        before, between, after = lines_of(head, self._first[0], model)
        name, record = self._inbound.request_id.encode(), str(exchange.record).encode()
        timed = timing(self._began, exchange.queued)
        lines = b"%b%b%b%b\r\nserver-timing: %b%b" % (before, name, between, record, timed, after)
        return Whole(head.status, lines, body)

    def stop(self) -> None:
        """Nobody waits for it any more."""
        for exchange in self._under_way:
            if not exchange.over:
                exchange.cancel()

    async def run(self, reply: Reply) -> None:
        """Answer from the first upstream that can; a RouterError tells why none did."""
        order = self._in_order()  # nothing that lives on refers to it: a cycle would wait for the collector
        try:
            begun = self._first_answer(order)
            answer = await (self._patiently(begun, reply) if self._inbound.facts.stream else begun)
            while answer.streamed:
                following = await self._deliver(answer, reply, order)
                if following is None:
                    return
                answer = following
            await deliver_whole(answer, reply, self._headers(answer))
        finally:
            self.stop()

    async def _first_answer(self, order: Iterator[Attempt]) -> Answer:
        for attempt in order:
            after_s = self._snapshot.tiers[attempt.tier].hedge_after_s
            try:
                return await (self._hedged(attempt, order, after_s) if after_s else self._try(attempt))
            except ExchangeFailed as error:
                if error.failure.cause not in MOVE_ON:
                    break
        raise error_of(self._failures)

    def _in_order(self) -> Iterator[Attempt]:
        """The plan; then, patiently, once more whoever was found asleep: it is being woken since.

        Planned at the moment of the first try: of a thousand that come at once, each sees those before it under way.
        """
        planned, first = 0, self._first
        plan = self._plan() if first is None else chain(first[:1], first[1])
        for planned, attempt in enumerate(plan, start=1):  # noqa: B007 - the last one counts
            if self._opened is not None or self._left_s(attempt.tier) > 0:
                yield attempt
        for number, attempt in enumerate(tuple(self._asleep), start=planned + 1):
            timeouts = self._snapshot.tiers[attempt.tier].timeouts
            if self._left_s(attempt.tier) > timeouts.total_s - timeouts.cold_start_s:
                yield replace(attempt, number=number, wait=True)

    def _left_s(self, tier: str) -> float:
        """What is left of the tier's `total`, which begins with its first attempt."""
        now = time.monotonic()
        return max(0.0, self._until.setdefault(tier, now + self._snapshot.tiers[tier].timeouts.total_s) - now)

    async def _hedged(self, attempt: Attempt, order: Iterator[Attempt], after_s: float) -> Answer:
        """One attempt; when it stays silent so long, the next one in order beside it."""

        def second() -> Coroutine[None, None, Answer] | None:
            following = next(order, None)
            return self._try(following) if following is not None else None

        answer = await race(self._try(attempt), second, after_s)
        for exchange in self._under_way:
            if exchange is not answer.exchange:
                exchange.cancel(Cause.HEDGED)
        return answer

    async def _try(self, attempt: Attempt) -> Answer:
        exchange, self._opened = self._opened, None
        if exchange is None:
            exchange = self._open(attempt, self._left_s(attempt.tier))
            self._under_way.append(exchange)
        wanted = EVENT_STREAM if self._inbound.facts.stream else JSON
        try:
            answer = await begin(exchange, attempt, wanted, self._snapshot.limits.answer_bytes)
        except ExchangeFailed as error:
            self._note(exchange, attempt, error.failure)
            raise
        self.record = exchange.record
        return answer

    def _note(self, exchange: Exchange, attempt: Attempt, failure: Failure) -> None:
        self.record = exchange.record if exchange.record is not None else self.record
        self._failures.append(failure)
        exchange.cancel(failure.cause)
        if failure.cause is Cause.COLD:
            self._asleep.append(attempt)

    def _open(self, attempt: Attempt, deadline_s: float) -> Exchange:
        policy = self._snapshot.policy
        served = policy.models[self._model].served.get(attempt.tier, self._model)
        most = self._snapshot.limits.body_bytes
        body = (
            self._inbound.body(served, most) if not self._said else spelled(self._document(attempt) or {}, served, most)
        )
        message = Open(
            request_id=self._inbound.request_id,
            caller=self._caller,
            model=self._model,
            endpoint=self._inbound.facts.endpoint,
            tier=attempt.tier,
            upstream=attempt.upstream,
            attempt=attempt.number,
            stream=self._inbound.facts.stream,
            body_bytes=len(body),
            policy=policy.digest,
            reach=int(self._ceiling),
            deadline_s=deadline_s,
            wait=attempt.wait,
            continued=bool(self._said),
        )
        return self._gate.exchange(message, body)

    async def _deliver(self, answer: Answer, reply: Reply, order: Iterator[Attempt]) -> Answer | None:
        """To its end; or, when it was cut, the answer of another upstream that goes on, where that is wished."""
        try:
            await deliver(answer, reply, self._headers(answer), self._hearing(answer.attempt))
        except ExchangeFailed as error:
            answer.exchange.cancel(error.failure.cause)
            if error.failure.cause is Cause.MISTAKE:
                raise error_of([error.failure]) from None
        else:
            return None
        following = await self._patiently(self._continuation(answer.attempt, order), reply)
        await reply.write(marker(following.attempt.tier, following.attempt.upstream))
        return following

    def _hearing(self, attempt: Attempt) -> Hear | None:
        """Who keeps what passes: nobody, of a stream that will not be continued."""
        if not self._continues(attempt):
            return None
        self._spoken = self._spoken or Spoken(self._inbound.document)
        return self._spoken.hear

    async def _continuation(self, broken: Attempt, order: Iterator[Attempt]) -> Answer:
        """The beginning of the rest, from the next upstream that can; UpstreamFailed when there is none."""
        said = self._spoken.text() if self._spoken is not None and self._continues(broken) else None
        if said is not None:
            self._said = said
            for attempt in order:
                if self._document(attempt) is None:
                    continue
                with suppress(ExchangeFailed):
                    return await self._try(attempt)
        raise UpstreamFailed("The upstream broke off: this answer is not complete.")

    def _continues(self, attempt: Attempt) -> bool:
        return self._inbound.facts.stream and self._snapshot.tiers[attempt.tier].continues

    def _document(self, attempt: Attempt) -> dict[str, Any] | None:
        """What to ask this upstream; of a rest that it cannot go on with, None."""
        if not self._said:
            return self._inbound.document
        rule = self._snapshot.policy.upstreams[attempt.upstream]
        if rule.engine is not None:
            return None  # ours begins every answer anew
        return continued(self._inbound.document, self._said, rule.backend)

    async def _patiently(self, waiting: Coroutine[None, None, T], reply: Reply) -> T:
        """Await; a streaming client that waits long gets a comment now and then, so that nothing closes its line."""
        heartbeat = Heartbeat(self._gate.loop, reply, HEARTBEAT_S, self._stream_headers())
        heartbeat.begin()
        try:
            return await waiting
        finally:
            heartbeat.stop()

    def _headers(self, answer: Answer) -> Headers:
        head = replace(answer.head, content_type=EVENT_STREAM) if answer.streamed else answer.head
        before, between, after = headers_of(head, answer.attempt, self._model if self._inbound.chosen else "")
        headers = [
            *before,
            (b"x-request-id", self._inbound.request_id.encode()),
            *between,
            (b"x-ringfence-record", str(self.record).encode()),
            (b"server-timing", timing(self._began, answer.exchange.queued)),
            *after,
        ]
        if answer.streamed:
            headers.append((b"cache-control", b"no-cache"))
        return headers

    def _stream_headers(self) -> Headers:
        """Of a stream that begins with heartbeats: which tier will answer is not known yet."""
        return [
            (b"content-type", EVENT_STREAM.encode()),
            (b"cache-control", b"no-cache"),
            (b"x-request-id", self._inbound.request_id.encode()),
        ]
