"""Checks every MAC: opens the sealed epoch keys with the reviewer's key and walks the ratchet beside the records."""

from __future__ import annotations

import base64
from operator import itemgetter
from typing import Final

from router.audit.format import seal
from router.audit.format.notes import NoteError, VerifierKey
from router.audit.format.ratchet import context, expected_macs, step
from router.audit.format.record import TAIL_BYTES, tails
from router.audit.format.statement import epoch_statement
from router.audit.verify.batch import Batch, Record
from router.audit.verify.findings import Finding, Weight
from router.audit.verify.stream import Add

MOST_SKIPPED: Final = 50_000_000  # steps over missing records; a lie about an index must not keep us busy for ever
_covered: Final = itemgetter(slice(-TAIL_BYTES))  # by the MAC


class MacCheck:
    """One pass over the records of a log. Without a reviewer's key it checks the signatures of the epochs only."""

    def __init__(self, log: str, vkey: VerifierKey, reviewer: seal.ReviewerSecret | None, add: Add) -> None:
        self._log = log
        self._vkey = vkey
        self._reviewer = reviewer
        self._add = add
        self._key: bytes | None = None
        self._context = b""
        self._next = 0
        self.checked = 0
        self.unkeyed = 0  # records of epochs whose key does not open

    def see(self, batch: Batch) -> None:
        if batch.columns.kinds[0] == "key_epoch":
            self._begin(batch.record(0))
        key, first, count = self._key, batch.first, len(batch.lines)
        if key is None:
            self.unkeyed += count
            return
        if first != self._next:
            if not 0 < first - self._next <= MOST_SKIPPED:
                return  # the stream has told of it
            key = self._skip(key, first)
        self._key, macs = expected_macs(key, self._context, first, [*map(_covered, batch.lines)])
        self._next = first + count
        self.checked += count
        if tails(macs) != batch.tails:
            self._find(batch, macs)

    def _find(self, batch: Batch, macs: list[bytes]) -> None:
        for record, mac in zip(batch.records(), macs, strict=True):
            if record.mac != mac.hex():
                self._say(record, "mac", "its MAC is wrong: the record was altered, or not written by this ledger")

    def _skip(self, key: bytes, number: int) -> bytes:
        """The key of a record behind missing ones: the ratchet runs on without them."""
        for index in range(self._next, number):
            key, _ = step(key, self._context, index)
        return key

    def _begin(self, record: Record) -> None:
        """A new epoch: whoever began it must hold the log's own key, since anyone can seal to the reviewer."""
        body = record.body
        try:
            statement = epoch_statement(self._log, record.epoch, record.number, record.prev.hex(), dict(body.items()))
            self._vkey.verify(statement, base64.b64decode(body["sig"], validate=True))
        except (NoteError, KeyError, TypeError, ValueError):
            self._say(record, "epoch_signature", "the epoch is not signed by the log's key: another writer began it")
        self._key = self._open(record, self._reviewer) if self._reviewer is not None else None
        self._context = context(self._log, record.epoch)
        self._next = record.number

    def _open(self, record: Record, reviewer: seal.ReviewerSecret) -> bytes | None:
        try:
            sealed = base64.b64decode(record.body["sealed"], validate=True)
            return reviewer.open(sealed, seal.epoch_info(self._log, record.epoch))
        except (seal.SealError, KeyError, TypeError, ValueError):
            self._add(self._at(record, Weight.UNCHECKED, "key", "this reviewer's key does not open the epoch's key"))
            return None

    def _say(self, record: Record, code: str, message: str) -> None:
        self._add(self._at(record, Weight.TAMPERED, code, message))

    def _at(self, record: Record, weight: Weight, code: str, message: str) -> Finding:
        return Finding(weight, code, message, record.number, record.file, record.offset)
