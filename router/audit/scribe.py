"""Makes lines out of what was said: head, MAC, leaf, and the bodies that only the ledger itself can fill in."""

from __future__ import annotations

import base64
import os
from functools import cache
from pathlib import Path

from msgspec import Struct

from router.audit import envelope
from router.audit.bodies import encode_body
from router.audit.format import seal
from router.audit.format.notes import Checkpoint
from router.audit.format.ratchet import KEY_BYTES, Ratchet
from router.audit.format.record import FIRST_PREV, start, write
from router.audit.format.statement import epoch_statement
from router.audit.format.tiles import TileStack
from router.audit.home import Home
from router.audit.kinds import Kind


class Place(Struct):
    """Where the next record stands."""

    epoch: int = 0
    prev: bytes = FIRST_PREV


class Scribe:
    """The ledger's head: epoch, chain, ratchet and tree. One caller at a time, in the order of the records' indexes."""

    def __init__(self, home: Home, place: Place, tree: TileStack) -> None:
        self._home = home
        self._place = place
        self.tree = tree
        self._ratchet: Ratchet | None = None
        self._begun = ""  # how every line of the epoch begins
        self._leaves: list[bytes] = []  # not yet in the tree: adding many at once is cheaper

    def line(self, index: int, times_us: tuple[int, int], kind: Kind, body: bytes) -> bytes:
        """The record's line with its line feed; by the clock and the monotonic clock, when it came."""
        if self._ratchet is None:
            raise AssertionError("the first record of a process begins an epoch")
        place = self._place
        line, leaf = write(self._begun, (index, place.prev), times_us, kind, body, self._ratchet.mac)
        place.prev = leaf
        self._leaves.append(leaf)
        return line

    def begin_epoch(self, index: int) -> bytes:
        """Draw a key, seal it to the reviewer, sign the statement; the old key is overwritten. The record's body."""
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
        self._begun = start(home.log, place.epoch)
        self._ratchet = Ratchet(key, home.log, place.epoch, index)
        return encode_body(Kind.KEY_EPOCH, {**body, "sig": base64.b64encode(home.signer.sign(statement)).decode()})

    def checkpoint(self, index: int, oldest_open: int) -> tuple[bytes, Checkpoint]:
        """The body of a checkpoint record at `index`, over those before it; and what its file will say."""
        self._settle()
        checkpoint = Checkpoint(self._home.signer.verifier.name, index, self.tree.root())
        signature = base64.b64encode(self._home.signer.sign(checkpoint.text().encode())).decode()
        body = {"size": index, "root": checkpoint.root.hex(), "sig": signature, "oldest_open": oldest_open}
        return encode_body(Kind.CHECKPOINT, body), checkpoint

    def _settle(self) -> None:
        """Bring the tree up to the last line."""
        self.tree.extend(self._leaves)
        self._leaves.clear()

    def take_tiles(self) -> list[tuple[int, int, bytes]]:
        """The tiles that were filled since the last asking: level, number, hashes."""
        full, self.tree.full = self.tree.full, []
        return full

    def destroy(self) -> None:
        """Overwrite the key of the epoch that ends."""
        if self._ratchet is not None:
            self._ratchet.destroy()
            self._ratchet = None


@cache
def boot_id() -> str:
    """The kernel's name for this boot, so that monotonic times of different boots are told apart."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
