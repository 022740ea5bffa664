"""The checkpoint file of a ledger that is being written, and whether its directory is still what its writer made it."""

from __future__ import annotations

from router.audit.format import layout
from router.audit.format.notes import Checkpoint
from router.audit.format.segments import SegmentError, read_small
from router.audit.home import Home, write_new
from router.audit.journal import Journal, changed, is_at


class CheckpointFile:
    """Replaced by the writer alone, after it has looked whether all is in its place: at most twice a second, and never
    for a record. Files that come from an older copy are other files, or say something else.
    """

    def __init__(self, home: Home) -> None:
        """OSError, SegmentError: it cannot be read."""
        self._home = home
        self._path = home.path(layout.CHECKPOINT)
        self._may_say = {self._read()}  # also what an attempt may have left that failed
        self.signed = 0  # the size that it says since we wrote it last; 0: not yet

    def replace(self, checkpoint: Checkpoint, journal: Journal) -> None:
        """The records under it are durable by now. JournalChanged: we are not alone; other OSErrors: of the disk."""
        found = self._look(journal)
        note = self._home.note(checkpoint)
        self._may_say = {found, note}
        write_new(self._path, note)
        self._may_say = {note}
        self.signed = checkpoint.size

    def _look(self, journal: Journal) -> bytes:
        """What the file says."""
        lock = self._home.path(layout.LOCK)
        try:
            if not is_at(self._home.lock, lock):
                raise changed(lock)
            journal.look()
            found = self._read()
        except (FileNotFoundError, NotADirectoryError, SegmentError):
            raise changed(self._path) from None
        if found not in self._may_say:
            raise changed(self._path)
        return found

    def _read(self) -> bytes:
        """It counts by what it says: a backup may give the same file another name."""
        return read_small(self._path, links=True)
