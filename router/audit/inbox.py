"""The one place where records get their order: index, time, line, and which decisions are still open.

Lines are made where they are appended: that thread runs anyway, and the writer's is left with the disk, so the two
seldom want the interpreter at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from time import monotonic_ns, time_ns
from typing import Protocol

from router.audit.batch import Batch, Turn
from router.audit.errors import LedgerFieldError, LedgerUnavailable
from router.audit.kinds import Kind
from router.audit.scribe import Scribe

_ALL = frozenset(Kind)
_DECISION, _OUTCOME = Kind.DECISION, Kind.OUTCOME  # the interpreter is slow to find them in their class


class Alarm(Protocol):
    """Calls later on what it is given, as an event loop does; both may be asked from any thread."""

    def soon(self, call: Callable[[], None]) -> object: ...

    def after(self, delay_s: float, call: Callable[[], None]) -> object: ...

    def calm(self) -> bool:
        """Whether the thread that it calls on may wait for the disk for a moment: nothing else is urgent there."""


class Inbox:
    """Thread-safe: anyone appends, one writer takes. Nobody waits for the disk here. It alone asks the scribe."""

    def __init__(self, scribe: Scribe, open_decisions: Iterable[int], checkpoint_every: int, linger_s: float) -> None:
        self._scribe = scribe
        self._next = scribe.tree.size
        self._open = dict.fromkeys(open_decisions)
        self._every = checkpoint_every
        self._linger_s = linger_s
        self._checkpointed = self._next  # records up to here are in a checkpoint, or are one
        self._batch = Batch()
        self._lock = threading.Lock()
        self._bell = threading.Lock()  # free: the writer was called
        self._bell.acquire()
        self._asleep = False  # the writer waits for the bell
        self._due = False  # something in the batch should be written now
        self._hurried = False  # and not by the alarm's thread, which may be the one that waits
        self._lingering = False  # the alarm will make due what lies here by then
        self._alarm: Alarm | None = None
        self._writes_few: Callable[[], bool] = bool  # which says no
        self._closed = False
        self._fault: Exception | None = None  # a mistake of our own: the writer's last news
        self._refusal: str | None = None
        self._refused: frozenset[Kind] = frozenset()

    @property
    def refusal(self) -> str | None:
        """Why new exchanges are refused; None while the ledger is sound."""
        return self._refusal

    def append(self, kind: Kind, body: bytes, decision: int = -1, *, hurry: bool = True) -> int:
        """Give a record its index. `decision`: the one that this outcome closes. LedgerUnavailable after a failure.

        Without `hurry` it goes with the next that has it, and after `linger_s` at the latest.
        """
        with self._lock:
            if self._refusal is not None and kind in self._refused:
                raise LedgerUnavailable(self._refusal)
            if kind is _OUTCOME and decision not in self._open:
                raise LedgerFieldError(f"outcome.decision: {decision} is not an open decision of this ledger")
            try:
                index = self._put(kind, body)
                if kind is _DECISION:
                    self._open[index] = None
                elif kind is _OUTCOME:
                    del self._open[decision]
                if self._next - self._checkpointed >= self._every:
                    self._put_checkpoint()
            except Exception as error:  # of our own: the chain is uncertain, so the ledger ends
                self._fault = error
                self._shut(f"the ledger stopped: {type(error).__name__}")
                raise LedgerUnavailable(self._refusal or "") from error
            if not self._due and (hurry or not self._lingering):
                self._call_for(hurry=hurry)
            return index

    def _put(self, kind: Kind, body: bytes) -> int:
        index, batch, now_us = self._next, self._batch, monotonic_ns() // 1000
        line = self._scribe.line(index, (time_ns() // 1000, now_us), kind, body)
        if not batch.lines:
            batch.since_us = now_us
        batch.lines.append(line)
        batch.last = index
        self._next = index + 1
        return index

    def _put_checkpoint(self) -> None:
        body, note = self._scribe.checkpoint(self._next, next(iter(self._open), self._next))
        self._put(Kind.CHECKPOINT, body)
        self._batch.note = note
        self._checkpointed = self._next

    # --- waking the writer ---

    def gather(self, alarm: Alarm | None, writes_few: Callable[[], bool]) -> None:
        """From now on the writer is woken by a call that `alarm` puts off: a loop's pass fills one batch, and the two
        threads do not contend while it runs; or it is spared, when the alarm's thread is calm and `writes_few` says
        that it has written what lies here. None: it is woken at once again, for every record.
        """
        with self._lock:
            self._alarm, self._writes_few = alarm, writes_few
            self._lingering = False  # the timers of the one before may have gone with its loop
            if alarm is None and self._batch.lines:
                self._call(None)

    def hurry(self) -> None:
        """What lies here is to be written now: somebody waits for it."""
        with self._lock:
            if self._batch.lines:
                self._hurried = True
                self._call(None)

    def _call_for(self, *, hurry: bool) -> None:
        if hurry or self._alarm is None:
            self._call(self._alarm)
        else:
            self._lingering = True
            self._alarm.after(self._linger_s, self._lingered)

    def _call(self, alarm: Alarm | None) -> None:
        """Somebody waits for what lies here: make the writer take it, now or when the alarm sees fit."""
        self._due = True
        if not self._asleep:
            return  # it looks before it sleeps
        if alarm is None:
            self._ring()
        else:
            alarm.soon(self._wake)

    def _wake(self) -> None:
        alarm = self._alarm
        if alarm is not None and alarm.calm() and self._writes_few():
            return
        with self._lock:
            self._ring()

    def _lingered(self) -> None:
        """What has come since the last batch may stay for as long as what was here before it."""
        with self._lock:
            self._lingering = False
            if not self._batch.lines:
                return
            left_s = self._linger_s - (monotonic_ns() // 1000 - self._batch.since_us) / 1e6
            if left_s > 0 and not self._due and self._alarm is not None:
                self._lingering = True
                self._alarm.after(left_s, self._lingered)
                return
            self._due = True
        self._wake()

    def _ring(self) -> None:
        if self._asleep:
            self._asleep = False
            self._bell.release()

    def wait(self, wait_s: float, few: int = 0) -> bool:
        """Whether something came to be written, or the end, in so many seconds. For the writer only.

        Up to `few` lines it leaves to the alarm's thread, once, as if they had come while it slept.
        """
        with self._lock:
            is_few = len(self._batch.lines) <= few and not self._hurried
            if self._closed or (self._due and not (is_few and self._left_to_alarm())):
                return True
            self._asleep = True
            self._bell.acquire(blocking=False)  # rung after its last sleep was over
        rung = self._bell.acquire(timeout=wait_s)
        with self._lock:
            self._asleep = False
            return rung

    def _left_to_alarm(self) -> bool:
        if self._alarm is None or not self._alarm.calm():
            return False
        try:
            self._alarm.soon(self._wake)
        except RuntimeError:  # its loop is closed
            return False
        return True

    def take(self) -> Batch:
        """All that lies here, in order. For the writer only; it hears of a fault of our own here."""
        with self._lock:
            if self._fault is not None:
                raise self._fault
            batch, self._batch = self._batch, Batch()
            batch.tiles = self._scribe.take_tiles()
            self._due = self._hurried = False
            return batch

    def take_few(self, most: int) -> Batch | None:
        """As `take`, for whoever writes in the writer's place. None, and all stays: it is work for the writer itself,
        being more than `most` lines, a new key, a checkpoint, or the end.
        """
        with self._lock:
            batch = self._batch
            if not 0 < len(batch.lines) <= most or batch.turns or batch.note is not None or self._closed:
                return None
            self._batch, self._due = Batch(), False
            return batch

    # --- what the writer asks for ---

    def checkpoint(self) -> None:
        """Ask for a checkpoint over all records so far, unless there is nothing new under it."""
        with self._lock:
            if not self._closed and self._next > self._checkpointed:
                self._put_checkpoint()
                self._due = True

    def begin_epoch(self) -> None:
        """Ask for a new key; a checkpoint before it covers all that the old key vouched for."""
        with self._lock:
            if self._closed:
                return
            if self._next > self._checkpointed:
                self._put_checkpoint()
            body = self._scribe.begin_epoch(self._next)
            self._batch.turns.append(Turn(len(self._batch.lines), self._next, self._batch.note))
            self._put(Kind.KEY_EPOCH, body)
            self._due = True

    @property
    def unchecked(self) -> int:
        """Records that no checkpoint covers yet."""
        return self._next - self._checkpointed

    @property
    def oldest_open(self) -> int:
        """The index of the oldest decision without an outcome; the next index if there is none."""
        with self._lock:
            return next(iter(self._open), self._next)

    @property
    def open_count(self) -> int:
        return len(self._open)

    @property
    def closed(self) -> bool:
        """Nothing more is appended."""
        return self._closed

    @property
    def finished(self) -> bool:
        """Closed, and nothing is left to write."""
        return self._closed and not self._batch.lines and self._fault is None

    # --- ends ---

    def close(self, stop_body: bytes) -> None:
        """The last two records of an orderly end: stop, and a checkpoint over it."""
        with self._lock:
            if self._closed:
                return  # it failed: nothing more is written
            try:
                self._put(Kind.STOP, stop_body)
                self._put_checkpoint()
            except Exception as error:  # noqa: BLE001 - whatever it is, the writer tells of it and ends
                self._fault = error
            self._shut("the ledger is closed")

    def refuse(self, sentence: str, kinds: Iterable[Kind]) -> None:
        """From now on, records of these kinds raise LedgerUnavailable with this sentence; all do once it is closed."""
        with self._lock:
            if self._closed:
                return
            self._refusal, self._refused = sentence, frozenset(kinds)

    def resume(self, sentence: str) -> bool:
        """What was refused with this sentence is taken again; False if it was not, or something worse has happened."""
        with self._lock:
            if self._closed or self._refusal != sentence:
                return False
            self._refusal, self._refused = None, frozenset()
            return True

    def fail(self, sentence: str) -> None:
        """Nothing more will be written: drop what waits, let the writer end."""
        with self._lock:
            self._batch = Batch()
            self._fault = None
            self._shut(sentence)

    def _shut(self, sentence: str) -> None:
        self._refusal, self._refused = sentence, _ALL
        self._closed = True
        self._ring()
