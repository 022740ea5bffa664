"""Sealed capture: what passes through one exchange goes to the reviewer's eyes too, or nothing passes.

Off unless the policy file names the caller or the model. The gate holds the reviewer's public key only.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import Callable
from typing import TypeVar

from msgspec import UNSET

from router.audit import Capture, Ledger, LedgerUnavailable
from router.audit.fields import Outcome
from router.channel.messages import Cause
from router.gate.answer_text import AnswerText
from router.gate.connection import UpstreamFault

T = TypeVar("T")
KEY_IS_HERE = (
    "sealed capture is on, but the reviewer's secret key lies in the ledger's directory: "
    "move reviewer.key to the reviewer's machine"
)


async def in_thread(work: Callable[[], T]) -> T:
    """File work, off the event loop; LedgerUnavailable when the disk refuses it."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise LedgerUnavailable(f"sealed capture cannot be written: {error.strerror}") from None


async def seal_prompt(ledger: Ledger, request_id: str, body: bytes) -> str:
    """The whole request as it will be sent, durably sealed; the name for its record."""

    def work() -> str:
        if ledger.reviewer_is_local:
            raise LedgerUnavailable(KEY_IS_HERE)
        with contextlib.closing(ledger.begin_capture(request_id, "prompt")) as capture:
            capture.add(body)
            return capture.finish()

    return await in_thread(work)


async def _in_turn(before: asyncio.Task[None] | None, work: Callable[[], object]) -> None:
    """A capture is no two threads' at a time. After a failure nothing more of it is written."""
    if before is not None:
        await before
    await in_thread(work)


class AnswerTap:
    """Sees every byte of one answer before the worker does. The last of them pass only when all are durably sealed."""

    def __init__(self, capture: Capture, digester: hmac.HMAC) -> None:
        self._capture = capture
        self._text = AnswerText(digester)
        self._over = False
        self._work: asyncio.Task[None] | None = None  # the newest in a thread, which goes on when we are cancelled

    @classmethod
    async def open(cls, ledger: Ledger, request_id: str, caller: str) -> AnswerTap:
        """One that is cancelled closes what its thread opens."""

        def work() -> tuple[hmac.HMAC, Capture]:
            return ledger.digester(caller), ledger.begin_capture(request_id, "answer")

        opening = asyncio.ensure_future(in_thread(work))
        try:
            digester, capture = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unused)
            raise
        return cls(capture, digester)

    async def take(self, data: bytes) -> None:
        """Before `data` goes on. UpstreamFault: there was to be no more."""
        if self._over and data:
            raise UpstreamFault(Cause.BAD_ANSWER, "bytes after the end")
        self._text.feed(data)
        if self._capture.add(data):
            self._begin(self._capture.seal)
            await self._done()

    async def finish(self) -> None:
        """What was taken is sealed, whole or not; once."""
        if not self._over:
            self._over = True
            self._begin(self._capture.finish)
        await self._done()

    def _begin(self, work: Callable[[], object]) -> None:
        def or_close() -> None:
            try:
                work()
            except BaseException:
                self._capture.close()  # here: nobody else knows when the thread is through with it
                raise

        self._work = asyncio.create_task(_in_turn(self._work, or_close))

    async def _done(self) -> None:
        if self._work is not None:
            await asyncio.shield(self._work)

    async def finish_cut(self) -> None:
        """Of an answer that was cut, what has passed is sealed, if it can be; how it ended is told already."""
        with contextlib.suppress(LedgerUnavailable):
            await self.finish()

    def tell(self, outcome: Outcome) -> None:
        """Into the outcome go the sealed file's name, and the digest of the answer's text if it has one."""
        outcome.capture = self._capture.name or UNSET
        outcome.answer_mac = self._text.mac() or UNSET


def _close_unused(opening: asyncio.Future[tuple[hmac.HMAC, Capture]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[1].close()
