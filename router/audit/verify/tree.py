"""Checks the tree: every checkpoint record, the checkpoint file, and the numbers in the reviewer's notebook."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable, Sequence

from router.audit.format.notes import Checkpoint, NoteError, VerifierKey
from router.audit.format.proofs import ProofError, check_consistency, consistency
from router.audit.format.tiles import HashReader, TileError, TileStack
from router.audit.format.tree import empty_root
from router.audit.verify.batch import Batch, Record
from router.audit.verify.findings import Finding, Weight
from router.audit.verify.keys import CHECKPOINT_FILE, Keys, Note
from router.audit.verify.stream import Add


def signed_checkpoint(vkey: VerifierKey, record: Record) -> Checkpoint | None:
    """What a checkpoint record states; None if the log's key did not sign that."""
    body = record.body
    try:
        stated = Checkpoint(vkey.name, int(body["size"]), bytes.fromhex(body["root"]))
        vkey.verify(stated.text().encode(), base64.b64decode(body["sig"], validate=True))
    except (NoteError, KeyError, TypeError, ValueError):
        return None
    return stated


class TreeCheck:
    """One pass over the leaves of a log."""

    def __init__(self, keys: Keys, notes: tuple[Note, ...], tree: TileStack, reader: HashReader, add: Add) -> None:
        """`tree` is empty, or stands in for pruned records; `reader` then has their hashes."""
        self._vkey = keys.vkey
        self._reader = reader
        self._notes = sorted(notes, key=lambda note: note.size, reverse=True)
        self._tree = tree
        self._add = add
        self._broken = False
        self.signed = 0  # records under the newest good checkpoint record
        self.kept: list[Note] = []  # notes that the log agrees with
        self._match_notes()

    @property
    def root(self) -> bytes:
        return self._tree.root()

    @property
    def size(self) -> int:
        return self._tree.size

    def see(self, batch: Batch) -> None:
        """A checkpoint record covers the leaves before its own."""
        done, leaves, kinds = 0, batch.leaves, batch.columns.kinds
        while "checkpoint" in kinds[done:]:
            at = kinds.index("checkpoint", done)
            self._extend(leaves[done:at])
            self._checkpoint(batch.record(at))
            self._extend(leaves[at : at + 1])
            done = at + 1
        self._extend(leaves[done:])

    def join(self, blocks: Iterable[Sequence[bytes]], checkpoints: Iterable[tuple[int, Checkpoint]]) -> bool:
        """Leaves in blocks, and signed checkpoints, each with how many of the leaves lie before it: do they fit?"""
        waiting, done = deque(checkpoints), 0
        for block in blocks:
            begun = 0
            while waiting and waiting[0][0] <= done + len(block):
                at, stated = waiting.popleft()
                self._extend(block[begun : at - done])
                begun = at - done
                if stated.size != self._tree.size or stated.root != self._tree.root():
                    return False
                self.signed = stated.size
            self._extend(block[begun:])
            done += len(block)
        return True

    def _extend(self, leaves: Sequence[bytes]) -> None:
        """Stops where a note tells of a size."""
        tree, done = self._tree, 0
        while self._notes and self._notes[-1].size <= tree.size + len(leaves) - done:
            upto = self._notes[-1].size - tree.size + done
            tree.extend(leaves[done:upto])
            done = upto
            self._match_notes()
        tree.extend(leaves[done:])
        tree.full.clear()

    def _match_notes(self) -> None:
        while self._notes and self._notes[-1].size <= self._tree.size:
            note = self._notes.pop()
            if self._agrees(note):
                self.kept.append(note)
                continue
            told = f"the first {note.size} records are not those that {note.source} tells of: the log was rewritten"
            self._add(Finding(Weight.TAMPERED, "root", told))

    def _agrees(self, note: Note) -> bool:
        """A note from before the pruning needs a proof that what is left continues the log that it tells of."""
        size, root = self._tree.size, self._tree.root()
        if note.size in {0, size}:
            return note.root == (root if note.size == size else empty_root())
        try:
            check_consistency(note.size, size, (note.root, root), consistency(note.size, size, self._reader.root_of))
        except (ProofError, TileError):
            return False
        return True

    def _checkpoint(self, record: Record) -> None:
        """A checkpoint record covers all records before it. After the first that fails, all others would fail too."""
        if self._broken:
            return
        stated = signed_checkpoint(self._vkey, record)
        if stated is None:
            self._say(record, "signature", "the checkpoint is not signed by the log's key")
            return
        if stated.size != self._tree.size or stated.root != self._tree.root():
            self._broken = True
            self._say(
                record, "root", f"of the {stated.size} records signed for here, one was altered, added or removed"
            )
            return
        self.signed = stated.size

    def _say(self, record: Record, code: str, message: str) -> None:
        self._add(Finding(Weight.TAMPERED, code, message, record.number, record.file, record.offset))

    def finish(self) -> None:
        """Notes that the log is too short for: it was cut, or rolled back. The record that says what the checkpoint
        file says follows what it covers, and is on the disk before the file.
        """
        if any(0 < note.size == self.size for note in self.kept if note.source == CHECKPOINT_FILE):
            told = f"{CHECKPOINT_FILE} tells of {self.size} records; the one that said so first, the next, was cut off"
            self._add(Finding(Weight.TAMPERED, "size", told))
        for note in self._notes:
            told = f"{note.source} tells of {note.size} records, the log has {self.size}: it was cut or rolled back"
            self._add(Finding(Weight.TAMPERED, "size", told))
