"""Makes lines out of what was said: head, MAC, leaf, and the two kinds of record that only the writer can fill in."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path

from router.audit import envelope
from router.audit.fields import encode_body
from router.audit.format import seal
from router.audit.format.notes import Checkpoint
from router.audit.format.ratchet import KEY_BYTES, Ratchet
from router.audit.format.record import FIRST_PREV, covered, finish, head, leaf_hash
from router.audit.format.statement import epoch_statement
from router.audit.format.tiles import TileStack
from router.audit.home import Home
from router.audit.inbox import Item
from router.audit.kinds import Kind


@dataclass(slots=True)
class Place:
    """Where the next record stands."""

    epoch: int = 0
    prev: bytes = FIRST_PREV


class Scribe:
    """The ledger's head: epoch, chain, ratchet and tree. Used by one thread only."""

    def __init__(self, home: Home, place: Place, tree: TileStack) -> None:
        self._home = home
        self._place = place
        self.tree = tree
        self._ratchet: Ratchet | None = None
        self._leaves: list[bytes] = []  # not yet in the tree: adding many at once is cheaper
        self.note: Checkpoint | None = None  # the newest checkpoint, while it is not yet in its file

    def line(self, item: Item) -> bytes:
        """The record's line with its line feed. Items come in the order of their indexes."""
        body = item.body
        if item.kind is Kind.KEY_EPOCH:
            body = self._begin_epoch(item.number)
        elif item.kind is Kind.CHECKPOINT:
            body = self._checkpoint(item.number, int(item.body))
        if self._ratchet is None:
            raise AssertionError("the first record of a process begins an epoch")
        place = self._place
        message = covered(
            head(self._home.log, place.epoch, item.number, place.prev), item.t_us, item.mono_us, item.kind, body
        )
        line = finish(message, self._ratchet.mac(message))
        place.prev = leaf_hash(line)
        self._leaves.append(place.prev)
        return line + b"\n"

    def _begin_epoch(self, index: int) -> bytes:
        """Draw a key, seal it to the reviewer, sign the statement; the old key is overwritten."""
        place, home = self._place, self._home
        self.destroy()
        place.epoch += 1
        key = os.urandom(KEY_BYTES)
        sealed = envelope.seal(home.reviewer, key, seal.epoch_info(home.log, place.epoch))
        body = {
            "suite": seal.SUITE,
            "sealed": base64.b64encode(sealed).decode(),
            "reviewer": home.reviewer.id,
            "boot": boot_id(),
        }
        statement = epoch_statement(home.log, place.epoch, index, place.prev.hex(), body)
        self._ratchet = Ratchet(key, home.log, place.epoch, index)
        return encode_body(Kind.KEY_EPOCH, {**body, "sig": base64.b64encode(home.signer.sign(statement)).decode()})

    def _checkpoint(self, index: int, oldest_open: int) -> bytes:
        """A checkpoint record at `index` covers the `index` records before it."""
        self.settle()
        checkpoint = Checkpoint(self._home.signer.verifier.name, index, self.tree.root())
        self.note = checkpoint
        signature = base64.b64encode(self._home.signer.sign(checkpoint.text().encode())).decode()
        return encode_body(
            Kind.CHECKPOINT,
            {"size": index, "root": checkpoint.root.hex(), "sig": signature, "oldest_open": oldest_open},
        )

    def settle(self) -> None:
        """Bring the tree up to the last line."""
        self.tree.extend(self._leaves)
        self._leaves.clear()

    def destroy(self) -> None:
        """Overwrite the key of the epoch that ends."""
        if self._ratchet is not None:
            self._ratchet.destroy()
            self._ratchet = None


def boot_id() -> str:
    """The kernel's name for this boot, so that monotonic times of different boots are told apart."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
