"""What a worker asks of the gate beside exchanges: denials, receipts, reports, warm-ups, metrics.

One that is taken over may ask without end: few of its questions are answered at a time, and the rest are told so.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Final

import msgspec

from router.audit import Kind as RecordKind
from router.audit import LedgerUnavailable
from router.audit.format.proofs import ProofError
from router.audit.prove import receipt_for_caller
from router.channel.frames import COUNT, ChannelError, Kind, Payload
from router.channel.link import Link
from router.channel.messages import MISTAKE_OF_OURS, Ask, Cause, Denial, Failure, Look, Open, Warm, decode, encode
from router.gate.desk import Front
from router.gate.endings import AUDIT_BACK_S
from router.unforeseen import heard

MOST_WARMS = 64  # of one worker: each waits as long as its caller wishes
MOST_QUESTIONS = 256  # of one worker: receipts, reports and metrics
MOST_DENIALS = 20_000  # of one worker: each waits for the disk
BACK_S = 1.0
OURS: Final = encode(MISTAKE_OF_OURS)


class Bound(msgspec.Struct):
    """How many of a kind may be under way for each worker, and what the next one is told. One client that is denied
    again and again, and leaves, is enough to fill it while a disk hangs; everybody's answers come by its channel.
    """

    most: int
    full: Failure
    under_way: Counter[Link] = msgspec.field(default_factory=Counter)

    def one_less(self, link: Link) -> None:
        self.under_way[link] -= 1
        if not self.under_way[link]:
            del self.under_way[link]


class Questions:
    """All that are being answered, each in a task; of the warm-ups, whose they are."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._tasks: set[asyncio.Task[None]] = set()
        self._warms: dict[tuple[Link, int], asyncio.Task[None]] = {}
        waiting = f"{MOST_DENIALS} denials wait for the ledger"
        self._denials = Bound(MOST_DENIALS, Failure(Cause.AUDIT, waiting, AUDIT_BACK_S))
        self._asked = Bound(MOST_QUESTIONS, Failure(Cause.BUSY, f"{MOST_QUESTIONS} questions wait already", BACK_S))

    def take(self, link: Link, number: int, kind: Kind, payload: Payload) -> None:
        """ChannelError: no worker of ours sends such a frame."""
        match kind:
            case Kind.DENY:
                self._bounded(self._denials, link, number, self._deny(link, number, decode(Denial, payload)))
            case Kind.WARM:
                self._begin_warm(link, number, decode(Warm, payload))
            case Kind.RECEIPT:
                self._bounded(self._asked, link, number, self._receipt(link, number, decode(Ask, payload)))
            case Kind.REPORT:
                self._bounded(self._asked, link, number, self._report(link, number, decode(Look, payload)))
            case Kind.METRICS:
                self._bounded(self._asked, link, number, self._metrics(link, number))
            case _:
                raise ChannelError(f"{kind.name} from a worker")

    def refuse(self, link: Link, number: int, message: Open, failure: Failure) -> None:
        """An exchange before there is one; recorded first, as every denial."""
        self._bounded(self._denials, link, number, self._refuse(link, number, message, failure))

    def cancel(self, link: Link, number: int) -> None:
        """Who waited for a warm-up has left. The probing goes on; only this wait is over."""
        if (warm := self._warms.get((link, number))) is not None:
            warm.cancel()

    def leave(self, link: Link) -> None:
        """The worker is gone."""
        for (of, _), warm in tuple(self._warms.items()):
            if of is link:
                warm.cancel()

    def _answer(self, link: Link, number: int, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """In a task of its own. Of one that fails the log hears, and so does whoever waits for its answer."""

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            heard(task)
            if not task.cancelled() and task.exception() is not None:
                link.send(number, Kind.FAIL, OURS)

        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(done)
        return task

    def _bounded(self, bound: Bound, link: Link, number: int, work: Coroutine[None, None, None]) -> None:
        """Refused where too many wait: what a worker, or one client by it, may cost must have an end."""
        if bound.under_way[link] >= bound.most:
            work.close()
            link.send(number, Kind.FAIL, encode(bound.full))
            return
        bound.under_way[link] += 1
        self._answer(link, number, work).add_done_callback(lambda _: bound.one_less(link))

    def _begin_warm(self, link: Link, number: int, message: Warm) -> None:
        if (link, number) in self._warms:
            raise ChannelError("the number of a warm-up twice")
        if sum(1 for of, _ in self._warms if of is link) >= MOST_WARMS:
            link.send(number, Kind.FAIL, encode(Failure(Cause.BUSY, f"{MOST_WARMS} callers wait already")))
            return
        task = self._answer(link, number, self._warm(link, number, message))
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
        """No rows of an upstream that is not there: a worker may ask by the settings before these."""
        upstreams = self._front.world.upstreams
        if message.upstream and message.wait_s > 0 and upstreams.reports(message.upstream):
            await upstreams.look(message.upstream, message.wait_s)
        link.send(number, Kind.ROWS, msgspec.json.encode(upstreams.reports(message.upstream)))

    async def _metrics(self, link: Link, number: int) -> None:
        world = self._front.world
        text = world.metrics.text(world.upstreams.reports(), world.admissions)
        link.send(number, Kind.ROWS, text.encode())

    async def _warm(self, link: Link, number: int, message: Warm) -> None:
        upstreams, policy = self._front.world.upstreams, self._front.world.snapshot.policy
        tiers = [tier for tier in policy.tiers.values() if message.tier in ("", tier.name)]
        rows = await asyncio.gather(
            *(upstreams.warm(name, tier.name, message.wait_s) for tier in tiers for name in tier.upstreams)
        )
        link.send(number, Kind.ROWS, msgspec.json.encode(rows))
