"""The one place where records get their order: index, time, and which decisions are still open."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from router.audit.errors import LedgerFieldError, LedgerUnavailable
from router.audit.kinds import Kind


class Item(NamedTuple):
    """A record on its way to the writer. A checkpoint's body is the index of the oldest open decision."""

    number: int  # the record's index
    t_us: int
    mono_us: int
    kind: Kind
    body: bytes


class Inbox:
    """Thread-safe: anyone appends, one writer takes. Nobody waits for the disk here."""

    def __init__(self, first: int, open_decisions: Iterable[int], checkpoint_every: int) -> None:
        self._next = first
        self._open = dict.fromkeys(open_decisions)
        self._every = checkpoint_every
        self._checkpointed = first  # records up to here are in a checkpoint, or are one
        self._items: list[Item] = []
        self._changed = threading.Condition(threading.Lock())
        self._waiting = False
        self._later: Callable[[Callable[[], None]], object] | None = None
        self._closed = False
        self._refusal: str | None = None
        self._refused: frozenset[Kind] = frozenset()

    @property
    def refusal(self) -> str | None:
        """Why new exchanges are refused; None while the ledger is sound."""
        return self._refusal

    def append(self, kind: Kind, body: bytes, decision: int | None = None) -> int:
        """Give a record its index. `decision`: the one that this outcome closes. LedgerUnavailable after a failure."""
        with self._changed:
            if self._refusal is not None and kind in self._refused:
                raise LedgerUnavailable(self._refusal)
            if kind is Kind.OUTCOME:
                self._close_decision(decision)
            index = self._put(kind, body)
            if kind is Kind.DECISION:
                self._open[index] = None
            if self._next - self._checkpointed >= self._every:
                self._put_checkpoint()
            if self._waiting:
                self._waiting = False
                if self._later is None:
                    self._changed.notify()
                else:
                    self._later(self._wake)
            return index

    def gather(self, later: Callable[[Callable[[], None]], object] | None) -> None:
        """From now on the writer is woken by a call that `later` puts off: a loop's pass fills one batch, and the two
        threads do not contend while it runs. `later` is called from any thread; None: it is woken at once again.
        """
        with self._changed:
            self._later = later

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _close_decision(self, decision: int | None) -> None:
        if decision not in self._open:
            raise LedgerFieldError(f"outcome.decision: {decision} is not an open decision of this ledger")
        del self._open[decision]

    def _put(self, kind: Kind, body: bytes) -> int:
        index = self._next
        self._next = index + 1
        self._items.append(Item(index, time.time_ns() // 1000, time.monotonic_ns() // 1000, kind, body))
        return index

    def _put_checkpoint(self) -> None:
        oldest = next(iter(self._open), self._next)
        self._put(Kind.CHECKPOINT, b"%d" % oldest)
        self._checkpointed = self._next

    def checkpoint(self) -> None:
        """Ask for a checkpoint over all records so far, unless there is nothing new under it."""
        with self._changed:
            if self._next > self._checkpointed:
                self._put_checkpoint()

    def begin_epoch(self) -> None:
        """Ask for a new key; a checkpoint before it covers all that the old key vouched for."""
        with self._changed:
            if self._closed:
                return
            if self._next > self._checkpointed:
                self._put_checkpoint()
            self._put(Kind.KEY_EPOCH, b"")

    @property
    def unchecked(self) -> int:
        """Records that no checkpoint covers yet."""
        return self._next - self._checkpointed

    @property
    def oldest_open(self) -> int:
        """The index of the oldest decision without an outcome; the next index if there is none."""
        with self._changed:
            return next(iter(self._open), self._next)

    @property
    def open_count(self) -> int:
        return len(self._open)

    def take(self, wait_s: float) -> list[Item]:
        """All that arrived, in order; waits up to `wait_s` for the first."""
        with self._changed:
            if not self._items and not self._closed:
                self._waiting = True
                self._changed.wait(wait_s)
                self._waiting = False
            items, self._items = self._items, []
            return items

    @property
    def finished(self) -> bool:
        """Closed, and nothing is left to write."""
        return self._closed and not self._items

    def close(self, stop_body: bytes) -> None:
        """The last two records of an orderly end: stop, and a checkpoint over it."""
        with self._changed:
            if self._closed:
                return  # it failed: nothing more is written
            self._put(Kind.STOP, stop_body)
            self._put_checkpoint()
            self._shut("the ledger is closed", frozenset(Kind))

    def refuse(self, sentence: str, kinds: Iterable[Kind]) -> None:
        """From now on, records of these kinds raise LedgerUnavailable with this sentence."""
        with self._changed:
            self._refusal, self._refused = sentence, frozenset(kinds)

    def fail(self, sentence: str) -> None:
        """Nothing more will be written: drop what waits, let the writer end."""
        with self._changed:
            self._items.clear()
            self._shut(sentence, frozenset(Kind))

    def _shut(self, sentence: str, kinds: frozenset[Kind]) -> None:
        self._refusal, self._refused = sentence, kinds
        self._closed = True
        self._changed.notify_all()


def body_decision(kind: Kind, body: Mapping[str, object]) -> int | None:
    """The decision that an outcome closes."""
    decision = body.get("decision")
    return decision if kind is Kind.OUTCOME and isinstance(decision, int) else None
