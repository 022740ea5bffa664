"""The ledger as the gate sees it: append, and learn when it is durable."""

from __future__ import annotations

import hmac
import os
import threading
from collections.abc import Callable, Mapping

from router.audit import recovery
from router.audit.bodies import body_decision, encode_body
from router.audit.capture import Capture
from router.audit.errors import LedgerError, LedgerUnavailable
from router.audit.exchanges import encode_outcome
from router.audit.fields import Body, Outcome
from router.audit.format import layout
from router.audit.home import ON_THIS_MACHINE, Home, open_home
from router.audit.inbox import Alarm, Inbox
from router.audit.journal import Journal
from router.audit.kinds import Kind
from router.audit.prune import prepare, remove
from router.audit.scribe import Place, Scribe, boot_id
from router.audit.settings import LedgerSettings
from router.audit.vault import Vault
from router.audit.writer import Listener, Writer

Done = Callable[[LedgerUnavailable | None], None]
_OPENING_S = 30.0
_DECISION, _OUTCOME = Kind.DECISION, Kind.OUTCOME


class Ticket:
    """The receipt of an append: the record's index, and a way to wait for the disk."""

    __slots__ = ("_ledger", "index")

    def __init__(self, ledger: Ledger, index: int) -> None:
        self._ledger = ledger
        self.index = index

    def add_done_callback(self, callback: Done) -> None:
        """`callback(None)` once durable, or `callback(error)`; from the writer's thread, or at once if it is over."""
        self._ledger.when_durable(self.index, callback)

    def wait(self, timeout_s: float) -> None:
        """Return once the record is durable; LedgerUnavailable if the ledger failed or the time ran out."""
        self._ledger.wait(self.index, timeout_s)


class Ledger:
    """One writer's ledger. Thread-safe; append never waits for the disk."""

    def __init__(self, settings: LedgerSettings, home: Home, inbox: Inbox, writer: Writer) -> None:
        self._settings = settings
        self._home = home
        self._inbox = inbox
        self._writer = writer
        self._closed = False
        self._vault = Vault(home, self._digest_key_made)
        self.digests = self._vault.digests  # keyed digests of what a caller sent, for `message_macs`
        self._callbacks: dict[int, list[Done]] = {}
        self._callbacks_lock = threading.Lock()
        writer.on_durable(self._call_back)

    @classmethod
    def open(cls, settings: LedgerSettings, lock: int | None = None) -> Ledger:
        """Lock, recover, begin an epoch, say so durably. LedgerError says what stands in the way. `lock`: a descriptor
        of the lock by whoever has it already; it is ours from now on.
        """
        home = open_home(settings.directory, settings.log_name, ml_dsa=settings.ml_dsa, lock=lock)
        try:
            ledger = cls._enter(settings, home)
        except BaseException:
            home.close()
            raise
        return ledger

    @classmethod
    def _enter(cls, settings: LedgerSettings, home: Home) -> Ledger:
        found = recovery.recover(home)
        try:
            journal = Journal(home.directory, settings.reserve_bytes)
            if found.segment is not None:
                journal.resume(found.segment, found.segment_bytes, found.day)
        except OSError as error:
            raise LedgerError(f"the ledger in {home.directory} cannot be written: {error.strerror}") from error
        scribe = Scribe(home, Place(found.epoch, found.prev), found.tree)
        inbox = Inbox(scribe, found.orphans, settings.checkpoint_every, settings.linger_s)
        writer = Writer(home, settings, inbox, scribe, journal)
        ledger = cls(settings, home, inbox, writer)
        last = ledger._first_words(found)
        writer.start()
        try:
            last.wait(_OPENING_S)
        except LedgerUnavailable as error:
            inbox.fail(str(error))
            writer.join()
            raise LedgerError(f"the ledger in {home.directory} cannot be written: {error}") from error
        return ledger

    def _first_words(self, found: recovery.Found) -> Ticket:
        """What every process says first: its key, what it found, which exchanges its predecessor left open."""
        self._inbox.begin_epoch()
        if found.torn:
            gap = {"bytes": found.torn, "reason": "torn_tail", "lost_from": found.tree.size}
            self.append(Kind.RECOVERY_GAP, {**gap, "quarantine": layout.QUARANTINE})
        settings = self._settings
        ticket = self.append(
            Kind.START,
            {
                "version": settings.version,
                "pid": os.getpid(),
                "boot": boot_id(),
                "durability": settings.durability.value,
                "previous": found.previous,
                "reviewer": self._home.custody,
                "heartbeat_s": int(settings.heartbeat_s),
                "checkpoint_every": settings.checkpoint_every,
            },
        )
        for decision in found.orphans:
            ticket = self.append(Kind.OUTCOME, {"decision": decision, "ending": "interrupted"})
        return ticket

    @property
    def failure(self) -> str | None:
        """Why no new exchange may begin; None while the ledger is sound."""
        return self._inbox.refusal

    @property
    def origin(self) -> str:
        """The log's name, as its checkpoints say it."""
        return self._home.signer.verifier.name

    @property
    def signed(self) -> int:
        """How many records are signed for by the checkpoint file that this process wrote last; 0: by none yet."""
        return self._writer.signed

    @property
    def reviewer_is_local(self) -> bool:
        """The reviewer's secret key still lies in the ledger's own directory: it should be moved away."""
        return self._home.custody == ON_THIS_MACHINE

    def append(self, kind: Kind, body: Mapping[str, object] | Body) -> Ticket:
        """Give a record its place. LedgerFieldError: the caller's mistake; LedgerUnavailable: nothing may be sent."""
        return Ticket(self, self._inbox.append(kind, encode_body(kind, body), body_decision(kind, body)))

    def note(self, kind: Kind, body: Mapping[str, object] | Body) -> None:
        """Append a record that nobody waits for: where an alarm is set (`gather`), it goes to the disk with the next
        one that somebody waits for, and after `linger_s` at the latest. Errors as append's.
        """
        self._inbox.append(kind, encode_body(kind, body), body_decision(kind, body), hurry=False)

    def decide(self, body: bytes) -> int:
        """Append a decision that `Prepared` encoded; its index. LedgerUnavailable: nothing may be sent."""
        return self._inbox.append(_DECISION, body)

    def conclude(self, told: Outcome) -> None:
        """As note, of an exchange that is over."""
        self._inbox.append(_OUTCOME, encode_outcome(told), told.decision, hurry=False)

    def digest(self, caller: str, text: bytes) -> str:
        """The keyed digest of a text for a record's `prompt_mac`, `message_macs` or `answer_mac`."""
        return self._vault.digests(caller, (text,))[0]

    def digester(self, caller: str) -> hmac.HMAC:
        """The same for a text that comes in parts."""
        return self._vault.digester(caller)

    def begin_capture(self, request_id: str, part: str) -> Capture:
        """A file to seal a `prompt` or an `answer` into, for the record's `capture`. It touches the disk; OSError."""
        return self._vault.begin_capture(request_id, part)

    def erase(self, day: str, reason: str, actor: str = "operator") -> int:
        """Record that a day's digest keys and sealed content go (`day` as 2026-11-21), then destroy them; how many."""
        paths = self._vault.erasable(day)
        body = {"subject": "content", "day": day, "count": len(paths), "reason": reason, "actor": actor}
        self.append(Kind.ERASURE, body).wait(_OPENING_S)
        self._vault.erase(paths)
        return len(paths)

    def prune(self, before: int, reason: str, actor: str = "operator") -> int:
        """Record that whole segments of records below `before` go, then remove them; their hashes stay. How many."""
        going, first = prepare(self._home.directory, min(before, self._inbox.oldest_open))
        if going:
            body = {"subject": "segments", "count": len(going), "kept_from": first, "reason": reason, "actor": actor}
            self.append(Kind.ERASURE, body).wait(_OPENING_S)
            remove(self._home.directory, going)
        return len(going)

    def _digest_key_made(self, name: str, sha256: str) -> None:
        self.append(Kind.ADMIN, {"action": "digest_key", "target": name, "digest": sha256})

    def gather(self, alarm: Alarm | None) -> None:
        """Wake the writer by calls that `alarm` puts off, so that more records share a batch, or write a few lines
        there and then while it is calm and the disk quick; None: at once again.
        """
        self._inbox.gather(alarm, self._writer.write_few)

    @property
    def durable(self) -> int:
        """The highest durable index."""
        return self._writer.durable

    def on_durable(self, listener: Listener) -> None:
        """`listener(highest durable index)`, once per batch, from the thread that wrote it: the writer's, or that of
        the alarm (`gather`); also once after a failure.
        """
        self._writer.on_durable(listener)

    def wait(self, index: int, timeout_s: float) -> None:
        self._inbox.hurry()  # the alarm may be the very thread that waits here
        if not self._writer.wait(index, timeout_s):
            raise LedgerUnavailable(self._writer.failed or f"record {index} was not durable within {timeout_s} s")

    def when_durable(self, index: int, callback: Done) -> None:
        """See Ticket.add_done_callback."""
        with self._callbacks_lock:
            self._callbacks.setdefault(index, []).append(callback)
        self._call_back(self._writer.durable)  # it may have become so before we were in the list

    def _call_back(self, durable: int) -> None:
        if not self._callbacks:
            return
        failed = self._writer.failed is not None
        with self._callbacks_lock:
            due = [index for index in self._callbacks if failed or index <= durable]
            calls = [(index, callback) for index in due for callback in self._callbacks.pop(index)]
        for index, callback in calls:
            callback(self._verdict(index))

    def _verdict(self, index: int) -> LedgerUnavailable | None:
        return None if index <= self._writer.durable else LedgerUnavailable(self._writer.failed or "")

    def close(self) -> str | None:
        """An orderly end: everything written, a stop record, a checkpoint over it, the lock given back. Why it came to
        no such end, if it did not.
        """
        if self._closed:
            return self._writer.failed
        self._closed = True
        self._inbox.close(encode_body(Kind.STOP, {"reason": "closed", "open": self._inbox.open_count}))
        self._writer.join()
        self._vault.close()
        self._home.close()
        return self._writer.failed
