"""An attacker with a text editor, our own source code, and as many of the keys as a test grants."""

from __future__ import annotations

import base64
import hmac
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from router.audit import envelope
from router.audit.format import layout, ratchet, seal
from router.audit.format.notes import Checkpoint, Signer, parse_vkey
from router.audit.format.record import FIRST_PREV, covered, finish, head, leaf_hash
from router.audit.format.segments import list_segments, segment_lines
from router.audit.format.statement import epoch_statement
from router.audit.format.tiles import TileStack
from router.audit.format.tree import empty_root
from tests.audit.ledgers import raw_lines

Record = dict[str, Any]


@dataclass(frozen=True)
class Loot:
    """What was stolen: the MAC key as it was at a record (and with it all later ones), the signing key."""

    mac_from: int | None = None
    mac_key: bytes = b""
    signing: Signer | None = None


def steal(directory: Path, *, mac_at: int | None = None, signing: bool = False) -> Loot:
    """Take keys from a running gate at the moment it writes record `mac_at` (in one epoch), and from its directory."""
    key = b""
    if mac_at is not None:
        body = msgspec.json.decode(next(segment_lines(list_segments(directory)[0][1])))["body"]
        reviewer = seal.parse_secret((directory / layout.REVIEWER_SECRET).read_text())
        log = layout.log_of(parse_vkey((directory / layout.VKEY).read_text()).name)
        key = reviewer.open(base64.b64decode(body["sealed"]), seal.epoch_info(log, 1))
        for index in range(mac_at):
            key, _ = ratchet.step(key, ratchet.context(log, 1), index)
    seed = (directory / layout.SIGNING_KEY).read_bytes() if signing else b""
    name = parse_vkey((directory / layout.VKEY).read_text()).name
    return Loot(mac_at, key, Signer(name, seed) if signing else None)


@dataclass
class Forger:
    """Edits a copy of a ledger and makes the rest fit as well as the loot allows.

    Without the signing key it signs with one of its own and replaces log.vkey: who has not pinned the key is fooled.
    """

    directory: Path
    loot: Loot = field(default_factory=Loot)
    own_epoch: bool = False  # seal a key of its own to the reviewer, and MAC everything anew
    records: list[Record] = field(default_factory=list)
    newest: Checkpoint | None = None  # of the checkpoint records, as they are made anew

    def __post_init__(self) -> None:
        self.name = parse_vkey((self.directory / layout.VKEY).read_text()).name
        self.log = layout.log_of(self.name)
        self.bounds = [first for first, _ in list_segments(self.directory)]
        self.records = [
            msgspec.json.decode(line) for _, path in list_segments(self.directory) for line in segment_lines(path)
        ]
        self.signer = self.loot.signing or Signer(self.name, bytes(32))

    def rebuild(self, *, keep_checkpoint: bool = False) -> None:
        """Indexes, links, MACs where possible, tree, checkpoints, signatures; then write everything."""
        prev, tree, lines = FIRST_PREV, TileStack(), []
        key, since = self.loot.mac_key, self.loot.mac_from
        for index, record in enumerate(self.records):
            self._refill(record, index, prev, tree)
            if self.own_epoch and index == 0:
                key, since = self._new_epoch(record, prev), 0
            message = self._message(record, index, prev)
            mac = bytes.fromhex(record["mac"])
            if since is not None and index >= since:
                key, mac_key = ratchet.step(key, ratchet.context(self.log, record["epoch"]), index)
                mac = hmac.digest(mac_key, message, "sha256")
            line = finish(message, mac)
            prev = leaf_hash(line)
            tree.extend([prev])
            lines.append(line + b"\n")
        self._write(lines, tree, keep_checkpoint=keep_checkpoint)

    def _refill(self, record: Record, index: int, prev: bytes, tree: TileStack) -> None:
        if record["kind"] == "checkpoint":
            stated = Checkpoint(self.name, index, tree.root())
            signature = base64.b64encode(self.signer.sign(stated.text().encode())).decode()
            self.newest = stated
            record["body"].update(size=index, root=stated.root.hex(), sig=signature)
        elif record["kind"] == "key_epoch":
            self._sign_epoch(record, index, prev)

    def _sign_epoch(self, record: Record, index: int, prev: bytes) -> None:
        statement = epoch_statement(self.log, record["epoch"], index, prev.hex(), record["body"])
        record["body"]["sig"] = base64.b64encode(self.signer.sign(statement)).decode()

    def _new_epoch(self, record: Record, prev: bytes) -> bytes:
        key = os.urandom(32)
        public = seal.parse_public((self.directory / layout.REVIEWER_PUBLIC).read_text())
        record["body"]["sealed"] = base64.b64encode(envelope.seal(public, key, seal.epoch_info(self.log, 1))).decode()
        self._sign_epoch(record, 0, prev)
        return key

    def _message(self, record: Record, index: int, prev: bytes) -> bytes:
        start = head(self.log, record["epoch"], index, prev)
        return covered(start, record["t"], record["mono"], record["kind"], msgspec.json.encode(record["body"]))

    def _write(self, lines: list[bytes], tree: TileStack, *, keep_checkpoint: bool) -> None:
        shutil.rmtree(self.directory / layout.SEGMENTS)
        (self.directory / layout.SEGMENTS).mkdir()
        bounds = [first for first in self.bounds if first < len(lines)]
        for first, end in zip(bounds, [*bounds[1:], len(lines)], strict=True):
            path = self.directory / layout.SEGMENTS / layout.segment_name(first)
            path.write_bytes(b"".join(lines[first:end]))
        shutil.rmtree(self.directory / layout.TILES, ignore_errors=True)
        if keep_checkpoint:
            return
        note = self.signer.note((self.newest or Checkpoint(self.name, 0, empty_root())).text())
        (self.directory / layout.CHECKPOINT).write_text(note)
        (self.directory / layout.VKEY).write_text(self.signer.verifier.text() + "\n")


Edit = Callable[[list[bytes]], list[bytes]]


def rewrite(directory: Path, edit: Edit) -> None:
    """Edit the lines of the first segment."""
    list_segments(directory)[0][1].write_bytes(b"".join(edit(raw_lines(directory))))


def replace_line(number: int, old: bytes, new: bytes) -> Edit:
    """The edit of one line, in one place."""

    def edit(lines: list[bytes]) -> list[bytes]:
        assert old in lines[number]
        return [line.replace(old, new, 1) if at == number else line for at, line in enumerate(lines)]

    return edit
