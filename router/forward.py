"""Steps 5-7: try the planned attempts through the gate, and relay the first answer that begins.

Nothing is tried again once a content byte went out. A client that leaves cancels `run`; the exchange is cancelled in
its `finally` by a frame, without an await, so no cancellation can swallow it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import TypeVar

import msgspec

from policies import Decision
from router.body import Inbound
from router.channel.client import Exchange, ExchangeFailed, GateClient
from router.channel.messages import Cause, Failure, Head, Open
from router.errors import BodyTooLarge, UpstreamFailed
from router.failures import MOVE_ON, error_of, failure_of
from router.reply import Headers, Reply
from router.settings.snapshot import Snapshot
from router.tiers import Attempt

HEARTBEAT_S = 10.0
HEARTBEAT = b": waiting for the model\n\n"
T = TypeVar("T")
EVENT_STREAM = "text/event-stream"
JSON = "application/json"


class Forwarder:
    """One request's attempts. `record` is the ledger index of the newest decision."""

    def __init__(
        self, snapshot: Snapshot, gate: GateClient, inbound: Inbound, caller: str, decision: Decision,
        attempts: tuple[Attempt, ...],
    ) -> None:  # fmt: skip
        self._snapshot = snapshot
        self._gate = gate
        self._inbound = inbound
        self._caller = caller
        self._model = inbound.facts.model or snapshot.policy.default_model
        self._ceiling = decision.ceiling
        self._attempts = attempts
        self._began = time.monotonic()
        self._total_s = max((snapshot.tiers[attempt.tier].timeouts.total_s for attempt in attempts), default=0.0)
        self._content = False
        self._asleep: list[Attempt] = []
        self.record: int | None = None

    async def run(self, reply: Reply) -> None:
        """Answer from the first upstream that can; a RouterError tells why none did."""
        failures: list[Failure] = []
        for attempt in self._in_order():
            exchange = self._open(attempt)
            try:
                await self._relay(exchange, attempt, reply)
            except ExchangeFailed as error:
                self.record = exchange.record if exchange.record is not None else self.record
                failures.append(error.failure)
                exchange.cancel(error.failure.cause)
                if error.failure.cause is Cause.COLD:
                    self._asleep.append(attempt)
                if self._content:
                    raise UpstreamFailed("The upstream broke off: this answer is not complete.") from None
                if error.failure.cause not in MOVE_ON:
                    break
            else:
                return
            finally:
                exchange.cancel()
        raise error_of(failures)

    def _in_order(self) -> Iterator[Attempt]:
        """The plan; then, patiently, once more whoever was found asleep: it is being woken since."""
        yield from self._attempts
        for number, attempt in enumerate(tuple(self._asleep), start=len(self._attempts) + 1):
            if time.monotonic() - self._began < self._snapshot.tiers[attempt.tier].timeouts.cold_start_s:
                yield replace(attempt, number=number, wait=True)

    def _open(self, attempt: Attempt) -> Exchange:
        policy = self._snapshot.policy
        served = policy.models[self._model].served.get(attempt.tier, self._model)
        body = self._inbound.body(served)
        if len(body) > self._snapshot.limits.body_bytes:  # our spelling of it may be longer than the client's
            raise BodyTooLarge(f"The body is larger than {self._snapshot.limits.body_bytes} bytes.")
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
            deadline_s=max(0.0, self._total_s - (time.monotonic() - self._began)),
            wait=attempt.wait,
        )
        return self._gate.exchange(message, body)

    async def _relay(self, exchange: Exchange, attempt: Attempt, reply: Reply) -> None:
        head = await self._patiently(exchange.opened(), reply)
        self.record = exchange.record
        failure = failure_of(head)
        if failure is not None:
            raise ExchangeFailed(failure)
        wanted = EVENT_STREAM if self._inbound.facts.stream else JSON
        if head.status < 400 and not head.content_type.startswith(wanted):
            raise ExchangeFailed(Failure(Cause.BAD_ANSWER, "not the kind of answer that was asked for"))
        if head.content_type.startswith(EVENT_STREAM):
            await self._relay_stream(exchange, head, attempt, reply)
        else:
            await self._relay_whole(exchange, head, attempt, reply)

    async def _relay_stream(self, exchange: Exchange, head: Head, attempt: Attempt, reply: Reply) -> None:
        """The head goes out with the first event: until then another upstream may still answer."""
        data = await self._patiently(exchange.chunk(), reply)
        if not reply.started:
            await reply.start(head.status, self._headers(head, attempt))
        while data is not None:
            if data:
                self._content = True
                await reply.write(data)
            data = await exchange.chunk()
        await reply.finish()

    async def _relay_whole(self, exchange: Exchange, head: Head, attempt: Attempt, reply: Reply) -> None:
        """An answer that is not a stream is held until it is whole, so a cut one never reaches a client."""
        chunks: list[bytes] = []
        held = 0
        while (data := await self._patiently(exchange.chunk(), reply)) is not None:
            chunks.append(data)
            held += len(data)
            if held > self._snapshot.limits.answer_bytes:
                raise ExchangeFailed(Failure(Cause.TOO_LARGE, f"more than {self._snapshot.limits.answer_bytes} bytes"))
        body = b"".join(chunks)
        if head.status < 400 and not is_json(body):
            raise ExchangeFailed(Failure(Cause.BAD_ANSWER, "not the JSON that its head promises"))
        if reply.started:  # heartbeats went out: this stream's status is spent
            await reply.write(b"data: " + b" ".join(body.splitlines()) + b"\n\n")
        else:
            length = (b"content-length", str(held).encode())
            await reply.start(head.status, [*self._headers(head, attempt), length])
            await reply.write(body)
        await reply.finish()

    async def _patiently(self, waiting: Coroutine[None, None, T], reply: Reply) -> T:
        """Await; a streaming client that waits long gets a comment now and then, so that nothing closes its line."""
        if not self._inbound.facts.stream:
            return await waiting
        task = asyncio.ensure_future(waiting)
        try:
            while not (await asyncio.wait((task,), timeout=HEARTBEAT_S))[0]:
                if not reply.started:
                    await reply.start(200, self._stream_headers())
                await reply.write(HEARTBEAT)
            return task.result()
        finally:
            task.cancel()

    # --- headers ---

    def _headers(self, head: Head, attempt: Attempt) -> Headers:
        content_type = EVENT_STREAM if head.content_type.startswith(EVENT_STREAM) else head.content_type
        headers = [
            (b"content-type", content_type.encode("latin-1")),
            (b"x-request-id", self._inbound.request_id.encode()),
            (b"x-ringfence-tier", attempt.tier.encode()),
            (b"x-ringfence-upstream", attempt.upstream.encode()),
            (b"x-ringfence-attempts", str(attempt.number).encode()),
            (b"x-ringfence-record", str(self.record).encode()),
            (b"server-timing", f"upstream;dur={(time.monotonic() - self._began) * 1000:.1f}".encode()),
        ]
        if head.clamped:
            headers.append((b"x-ringfence-clamped", head.clamped.encode("latin-1")))
        if head.content_type.startswith(EVENT_STREAM):
            headers.append((b"cache-control", b"no-cache"))
        return headers

    def _stream_headers(self) -> Headers:
        """Of a stream that begins with heartbeats: which tier will answer is not known yet."""
        return [
            (b"content-type", EVENT_STREAM.encode()),
            (b"cache-control", b"no-cache"),
            (b"x-request-id", self._inbound.request_id.encode()),
        ]


def is_json(body: bytes) -> bool:
    """Well-formed JSON? Read over, not built: 13 µs for 25 KB."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True
