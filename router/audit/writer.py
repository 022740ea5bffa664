"""The thread that writes: takes what has arrived, one write, one fdatasync, then tells who waits.

Only one thread writes at a time. A few lines are written by the one that appends (`write_few`), while that is cheaper.

Rule 1: a record is acknowledged after its batch is as durable as the settings say, and not before.
Rule 2: after any error of the disk nothing is written again. Linux drops the pages whose fsync failed, so a second
fsync that succeeds would be a lie. Want of a descriptor is none of these: open(2) gives up before it looks at the path.
That is tried again, and no new exchange begins meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable, Iterable

from router.audit.batch import Batch
from router.audit.bodies import encode_body
from router.audit.checkpoint_file import CheckpointFile
from router.audit.errors import LedgerUnavailable
from router.audit.format.layout import tile_path
from router.audit.format.notes import Checkpoint
from router.audit.format.tiles import write_tile
from router.audit.home import Home
from router.audit.inbox import Inbox
from router.audit.journal import Journal
from router.audit.kinds import Durability, Kind
from router.audit.pace import FEW, Pace
from router.audit.scribe import Scribe
from router.audit.settings import LedgerSettings

FULL = "the disk is full: free some space and restart; exchanges under way are still being recorded"
SHORT = "too many files are open: no new exchange begins until there is a descriptor again (ulimit -n, fs.file-max)"
SHORT_AGAIN_S = 0.1
_SHORT = frozenset({errno.EMFILE, errno.ENFILE})
_NEW_WORK = frozenset({Kind.DECISION, Kind.DENIAL, Kind.PROBE, Kind.HEARTBEAT, Kind.ADMIN, Kind.RELOAD})
Listener = Callable[[int], None]


class Writer:
    """Owns the journal from start() on."""

    def __init__(self, home: Home, settings: LedgerSettings, inbox: Inbox, scribe: Scribe, journal: Journal) -> None:
        """OSError, SegmentError: the checkpoint file cannot be read."""
        self._home = home
        self._settings = settings
        self._inbox = inbox
        self._scribe = scribe
        self._journal = journal
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._hand = threading.Lock()  # whoever has it writes
        self._pace = Pace()
        self._wakes_s = 0.0  # when the thread will look for itself, by the monotonic clock
        self._moved = threading.Condition()
        self._listeners: list[Listener] = []
        self.durable = scribe.tree.size - 1  # the highest durable index; set by whoever writes
        self.failed: str | None = None  # why it ended before its time
        self._checkpoint = CheckpointFile(home)
        self._note: Checkpoint | None = None  # the newest over durable records, while it is not yet in its file
        self._rotating = False  # the key epoch that begins the next segment is on its way
        self._last_record_s = self._last_checkpoint_s = self._last_note_s = time.monotonic()

    @property
    def signed(self) -> int:
        """The size that the checkpoint file says since this process wrote it last; 0: not yet."""
        return self._checkpoint.signed

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def on_durable(self, listener: Listener) -> None:
        """Called by whoever wrote, after each batch, with the highest durable index, and once after a failure."""
        with self._moved:
            self._listeners.append(listener)

    def wait(self, index: int, timeout_s: float) -> bool:
        """Whether the record at `index` became durable in time; False also when the ledger fails meanwhile."""
        with self._moved:
            self._moved.wait_for(lambda: self.durable >= index or self.failed is not None, timeout_s)
            return self.durable >= index

    def write_few(self) -> bool:
        """Write what has arrived, on the thread that calls, if that is little, and the disk has been quick of late.

        False: it is left to the thread, which must be woken. That also keeps the times of checkpoints and segments, so
        nothing is written without it when it sleeps for long.
        """
        if not self._may_spare(self._wakes_s - time.monotonic()) or not self._hand.acquire(blocking=False):
            return False
        try:
            batch = self._inbox.take_few(FEW)
            if batch is not None:
                self._flush(batch.lines)
                self._advance(batch.last)
        except Exception as error:  # noqa: BLE001 - as in the thread, which ends because of it
            self._fail(error)
            return True
        finally:
            self._hand.release()
        return batch is not None

    def _may_spare(self, sleeps_s: float) -> bool:
        """Whether another thread may write for ours, which sleeps for so long."""
        settings = self._settings
        quick = self._pace.quick and settings.durability is not Durability.GROUP
        return quick and sleeps_s <= settings.checkpoint_idle_s

    def _gather(self) -> None:
        if self._settings.durability is Durability.GROUP:
            time.sleep(self._settings.group_wait_s)

    def _run(self) -> None:
        try:
            while not self._inbox.finished:
                self._turn()
            if self.failed is None:
                self._replace_note()
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for a thread that has ended
            self._fail(error)
        finally:
            with self._hand:
                self._scribe.destroy()
                self._journal.close()

    def _turn(self) -> None:
        patience_s = self._patience_s()
        self._wakes_s = time.monotonic() + patience_s
        if self._inbox.wait(patience_s, FEW if self._may_spare(patience_s) else 0):
            self._gather()
        with self._hand:
            if self.failed is not None:  # by whoever else had it
                return
            try:
                self._work_off()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told before anyone else may write
                self._fail(error)

    def _work_off(self) -> None:
        batch = self._inbox.take()
        now = time.monotonic()
        if batch.lines:
            self._write(batch)
        self._keep_time(now)
        if self._note is not None and now - self._last_note_s >= self._settings.checkpoint_pause_s:
            self._put_note()

    def _patience_s(self) -> float:
        """How long to sleep when nothing arrives: until the next checkpoint, note or heartbeat."""
        if self._note is not None:
            return self._settings.checkpoint_pause_s
        if self._inbox.unchecked:
            return self._settings.checkpoint_idle_s
        return self._settings.heartbeat_s

    def _keep_time(self, now: float) -> None:
        if self._inbox.unchecked and now - self._last_checkpoint_s >= self._settings.checkpoint_idle_s:
            self._inbox.checkpoint()
        if now - self._last_record_s >= self._settings.heartbeat_s and self._inbox.refusal is None:
            body = encode_body(Kind.HEARTBEAT, {"open": self._inbox.open_count})
            with contextlib.suppress(LedgerUnavailable):  # closed since we looked: what waits is still written
                self._inbox.append(Kind.HEARTBEAT, body)
            self._last_record_s = now

    def _write(self, batch: Batch) -> None:
        """One batch; a segment that is due ends between two records."""
        start = 0
        for turn in batch.turns:
            if self._journal.is_due(self._settings.segment_bytes):
                self._flush(batch.lines[start : turn.position])
                self._note = turn.note or self._note
                self._rotate(turn.index)
                start = turn.position
        self._flush(batch.lines[start:] if start else batch.lines)
        if batch.note is not None:
            self._note = batch.note
            self._last_checkpoint_s = time.monotonic()
        self._put_tiles(batch.tiles)
        self._advance(batch.last)
        if not self._rotating and self._journal.is_due(self._settings.segment_bytes):
            self._rotating = True
            self._inbox.begin_epoch()

    def _flush(self, lines: list[bytes]) -> None:
        if not lines:
            return
        began = self._last_record_s = time.monotonic()
        if not self._journal.write(b"".join(lines)):
            self._inbox.refuse(FULL, _NEW_WORK)
        if self._settings.durability is not Durability.ASYNC:
            self._journal.sync()
        self._pace.took(time.monotonic() - began)

    def _rotate(self, first: int) -> None:
        """Begin a segment: what it follows is durable in any mode. Each begins with a key of its own, so it can be
        checked when those before it are pruned.
        """
        if first and self._settings.durability is Durability.ASYNC:
            self._journal.sync()
        self._put_note()
        while not self._has_begun(first):
            time.sleep(SHORT_AGAIN_S)
        self._rotating = False

    def _has_begun(self, first: int) -> bool:
        try:
            self._journal.begin(first)
        except OSError as error:
            if error.errno not in _SHORT or self._inbox.closed:
                raise
            self._fall_short()
            return False
        self._go_on()
        return True

    def _fall_short(self) -> None:
        if self._inbox.refusal is None:
            self._inbox.refuse(SHORT, _NEW_WORK)
            self._advance(self.durable)

    def _go_on(self) -> None:
        if self._inbox.resume(SHORT):
            self._advance(self.durable)

    def _put_tiles(self, tiles: Iterable[tuple[int, int, bytes]]) -> None:
        """Tiles can be made again from the segments, so a tile that cannot be written stops nothing."""
        for level, number, hashes in tiles:
            with contextlib.suppress(OSError):
                write_tile(self._home.directory, tile_path(level, number), hashes)

    def _put_note(self) -> None:
        """Without a descriptor, try again later: the file is made anew, and until then the old one or this one lies
        there, whichever a crash leaves.
        """
        try:
            self._replace_note()
        except OSError as error:
            if error.errno not in _SHORT:
                raise
            self._last_note_s = time.monotonic()
            self._fall_short()
        else:
            self._go_on()

    def _replace_note(self) -> None:
        """Replace the checkpoint file; the records under it are durable by now."""
        if self._note is None:
            return
        if self._settings.durability is Durability.ASYNC:
            self._journal.sync()
        self._checkpoint.replace(self._note, self._journal)
        self._note = None
        self._last_note_s = time.monotonic()

    def _advance(self, index: int) -> None:
        with self._moved:
            self.durable = index
            listeners = tuple(self._listeners)
            self._moved.notify_all()
        self._tell(listeners)

    def _fail(self, error: Exception) -> None:
        what = error.strerror or error if isinstance(error, OSError) else type(error).__name__
        sentence = f"the ledger stopped: {what}; records after {self.durable} may be lost"
        with self._moved:
            self.failed = sentence
            self._inbox.fail(sentence)
            listeners = tuple(self._listeners)
            self._moved.notify_all()
        self._tell(listeners)

    def _tell(self, listeners: Iterable[Listener]) -> None:
        for listener in listeners:
            with contextlib.suppress(RuntimeError):  # an event loop that has closed has nobody left to tell
                listener(self.durable)
