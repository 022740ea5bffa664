"""The gate's hand on the ledger: appends, and tells the loop once per batch what is durable by now."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence

from router.audit import Kind, Ledger, LedgerUnavailable


class Recorder:
    """Waiters are released in order, one wake-up of the loop for each group commit."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._durable = -1
        ledger.on_durable(self._from_writer)

    @property
    def failure(self) -> str | None:
        return self._ledger.failure

    def digests(self, caller: str, texts: Sequence[bytes]) -> list[str]:
        """Keyed digests of what a caller sent; LedgerUnavailable when the day's key cannot be kept."""
        try:
            return [self._ledger.digest(caller, text) for text in texts]
        except OSError as error:
            raise LedgerUnavailable(f"the day's digest key cannot be written: {error.strerror}") from None

    async def record(self, kind: Kind, body: Mapping[str, object]) -> int:
        """Append and wait until durable; the index. LedgerUnavailable: it may never be."""
        index = self.append(kind, body)
        await self.durable(index)
        return index

    def append(self, kind: Kind, body: Mapping[str, object]) -> int:
        """Append; the index. From here on the record exists, whether or not anyone waits for the disk."""
        return self._ledger.append(kind, body).index

    async def durable(self, index: int) -> None:
        """Wait until this record is on the disk. LedgerUnavailable: nothing may be dialled."""
        if index > self._durable:
            future: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append((index, future))
            await future

    def note(self, kind: Kind, body: Mapping[str, object]) -> None:
        """Append without waiting. A ledger that has failed already refuses every new exchange."""
        try:
            self._ledger.append(kind, body)
        except LedgerUnavailable:
            return

    def close(self) -> None:
        self._ledger.close()

    def _from_writer(self, highest: int) -> None:
        self._loop.call_soon_threadsafe(self._release, highest)

    def _release(self, highest: int) -> None:
        self._durable = max(self._durable, highest)
        failure = self._ledger.failure
        while self._waiting and (failure is not None or self._waiting[0][0] <= self._durable):
            index, future = self._waiting.popleft()
            if future.done():
                continue
            if index <= self._durable:
                future.set_result(None)
            else:
                future.set_exception(LedgerUnavailable(failure or ""))
