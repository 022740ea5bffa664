"""The gate's hand on the ledger: appends, and tells the loop once per batch what is durable by now."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from router.audit import Kind, Ledger, LedgerUnavailable
from router.audit.fields import Body, Outcome
from router.continuity import Known
from router.gate.capturing import AnswerTap, seal_prompt
from router.gate.steps import Wait

LOOK_AGAIN_S = 2.0
Settle = Callable[[LedgerUnavailable | None], None]


class LoopAlarm:
    """Puts off calls on an event loop. On the loop's own thread that needs no system call to wake it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Made on the loop's thread."""
        self._loop = loop
        self._thread = threading.get_ident()
        self.streams = 0  # that are on their way to clients

    @property
    def here(self) -> bool:
        """Whether it is the loop's thread that asks."""
        return threading.get_ident() == self._thread

    def calm(self) -> bool:
        """No stream is on its way, so nobody sees it if the loop rests for as long as a quick disk needs. A disk that
        hangs just then holds up what has been asked before; what comes then could not be recorded, and would wait too.
        """
        return not self.streams

    def soon(self, call: Callable[[], None]) -> None:
        if self.here:
            self._loop.call_soon(call)
        else:
            self._loop.call_soon_threadsafe(call)

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        if self.here:
            self._loop.call_later(delay_s, call)
        else:
            self._loop.call_soon_threadsafe(call)


class Recorder:
    """Waiters are released in order, one wake-up of the loop for each group commit."""

    def __init__(self, ledger: Ledger, on_refusal: Callable[[str], None] = lambda _: None) -> None:
        """`on_refusal` hears once why no record is taken any more, and "" if that passes."""
        self._ledger = ledger
        self.decide = ledger.decide  # as append, of a decision that `Prepared` encoded
        self._on_refusal = on_refusal
        self._refusal = ""
        self._failure = ""  # of these, what the ledger said when we last looked
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[int, Settle]] = deque()
        self._highest, self._failed = ledger.durable, False  # as the ledger told last
        self._look: asyncio.TimerHandle | None = None  # when we see for ourselves whether the ledger writes again
        self._alarm = LoopAlarm(self._loop)
        ledger.on_durable(self._on_durable)
        ledger.gather(self._alarm)

    def stream_begins(self) -> None:
        """While any is on its way, the loop does not wait for the disk."""
        self._alarm.streams += 1

    def stream_ends(self) -> None:
        self._alarm.streams -= 1

    @property
    def refusal(self) -> str:
        """Why no new exchange may begin; "" while the ledger takes records."""
        return self._refusal

    def digests(self, caller: str, texts: Sequence[bytes]) -> list[str]:
        """Keyed digests of what a caller sent; LedgerUnavailable when the day's key cannot be kept."""
        try:
            made = self._ledger.digests(caller, texts)
        except OSError as error:
            reason = f"the day's digest key cannot be written: {error.strerror}"
            self._tell(reason)
            if self._look is None:
                self._look = self._loop.call_later(LOOK_AGAIN_S, self._look_again)
            raise LedgerUnavailable(reason) from None
        if self._refusal:
            self._tell(self._ledger.failure or "")
        return made

    def _look_again(self) -> None:
        """Whoever watches us sends no request while we look ill: so we find out ourselves whether it has passed."""
        self._look = None
        if self._refusal and not self._ledger.failure:
            with contextlib.suppress(LedgerUnavailable):
                self.digests("", (b"",))

    async def seal_prompt(self, request_id: str, body: bytes) -> str:
        """The sealed prompt's name, for its decision. LedgerUnavailable: then nothing may be sent."""
        return await seal_prompt(self._ledger, request_id, body)

    async def open_tap(self, request_id: str, caller: str) -> AnswerTap:
        """For the answer to come. LedgerUnavailable, as above."""
        return await AnswerTap.open(self._ledger, request_id, caller)

    async def capture(self, request_id: str, caller: str, body: bytes) -> tuple[str, AnswerTap]:
        """Both, before the decision that names the first, and so before anything is sent."""
        return await self.seal_prompt(request_id, body), await self.open_tap(request_id, caller)

    async def record(self, kind: Kind, body: Mapping[str, object] | Body) -> int:
        """Append and wait until durable, in a task; the index. LedgerUnavailable: it may never be."""
        index = self.append(kind, body)
        future: asyncio.Future[None] = self._loop.create_future()
        self._when_durable(index, partial(_settle, future))
        await future
        return index

    def append(self, kind: Kind, body: Mapping[str, object] | Body) -> int:
        """Append; the index. From here on the record exists, whether or not anyone waits for the disk."""
        return self._ledger.append(kind, body).index

    def conclude(self, told: Outcome) -> None:
        """As note, of an exchange that is over."""
        try:
            self._ledger.conclude(told)
        except LedgerUnavailable:
            return

    def durable(self, index: int) -> Wait[None]:
        """Wait until this record is on the disk. LedgerUnavailable: nothing may be dialled."""
        wait: Wait[None] = Wait()
        if index <= self._highest:
            wait.ended = True
        else:
            self._when_durable(index, wait.settle)
        return wait

    def _when_durable(self, index: int, settle: Settle) -> None:
        if index <= self._highest:
            settle(None)
            return
        self._waiting.append((index, settle))
        if index <= self._highest or self._failed:  # meanwhile: nobody may have called us
            self._loop.call_soon(self._release, self._highest)

    def note(self, kind: Kind, body: Mapping[str, object] | Body) -> None:
        """Append without waiting. An outcome goes to the disk with the next record that somebody waits for, or a little
        later; what is rare goes at once. A ledger that has failed already refuses every new exchange.
        """
        try:
            if kind is Kind.OUTCOME:
                self._ledger.note(kind, body)
            else:
                self._ledger.append(kind, body)
        except LedgerUnavailable:
            return

    @property
    def known_text(self) -> str:
        """Which log it is, and how far it is signed for (`continuity.parse`); "" before this process signed for any."""
        ledger = self._ledger
        return Known(ledger.origin, ledger.signed).text if ledger.signed else ""

    def close(self) -> None:
        on_refusal, self._on_refusal = self._on_refusal, lambda _: None  # an orderly end is no refusal
        self._ledger.gather(None)
        failed = self._ledger.close()
        if failed is not None and not self._refusal:
            on_refusal(failed)

    def _on_durable(self, highest: int) -> None:
        """By whoever wrote. From the writer's thread, the loop is only woken for somebody, or for news.

        First it is noted, then looked who waits: whoever comes meanwhile does it the other way round.
        """
        failure = self._ledger.failure
        self._highest, self._failed = highest, failure is not None
        if self._alarm.here:
            self._release(highest)
        elif self._waiting or (failure or "") != self._refusal:
            self._loop.call_soon_threadsafe(self._release, highest)

    def _release(self, highest: int) -> None:
        failure = self._ledger.failure
        if failure is not None or self._refusal == self._failure:  # else it is a digest key's, and passes with that
            self._tell(failure or "")
        self._failure = failure or ""
        while self._waiting and (failure is not None or self._waiting[0][0] <= highest):
            index, settle = self._waiting.popleft()
            settle(None if index <= highest else LedgerUnavailable(failure or ""))

    def _tell(self, refusal: str) -> None:
        if refusal != self._refusal:
            self._refusal = refusal
            self._on_refusal(refusal)


def _settle(future: asyncio.Future[None], error: LedgerUnavailable | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
