"""Merkle proofs of RFC 6962, 2.1.1 and 2.1.2, their verification (RFC 9162, 2.1.3.2 and 2.1.4.2), and receipts."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from router.audit.format.notes import NoteError, VerifierKey, decode_base64, open_checkpoint
from router.audit.format.record import leaf_hash
from router.audit.format.tree import node_hash

RootOf: TypeAlias = Callable[[int, int], bytes]  # the root over the leaves low … high - 1
_HEADER: Final = "c2sp.org/tlog-proof@v1"


class ProofError(ValueError):
    """A proof that does not prove what it is said to prove."""


def split_point(count: int) -> int:
    """The largest power of two below `count` (at least 2)."""
    return 1 << ((count - 1).bit_length() - 1)


def inclusion(index: int, size: int, root_of: RootOf) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` leaves, from the leaf up."""
    low, high, path = 0, size, []
    while high - low > 1:
        middle = low + split_point(high - low)
        if index < middle:
            path.append(root_of(middle, high))
            high = middle
        else:
            path.append(root_of(low, middle))
            low = middle
    return path[::-1]


def consistency(old: int, new: int, root_of: RootOf) -> list[bytes]:
    """The proof that the tree of `new` leaves begins with that of `old` leaves, 0 < old <= new."""
    low, high, whole, path = 0, new, True, []
    while old < high:
        middle = low + split_point(high - low)
        if old <= middle:
            path.append(root_of(middle, high))
            high = middle
        else:
            path.append(root_of(low, middle))
            low, whole = middle, False
    if not whole:
        path.append(root_of(low, high))
    return path[::-1]


def root_from_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes:
    """The root that an audit path leads to; ProofError if it has the wrong length."""
    if not 0 <= index < size:
        raise ProofError(f"there is no record {index} in a log of {size}")
    at, last, root = index, size - 1, leaf
    for sibling in path:
        if not last:
            raise ProofError("the proof is too long")
        if at & 1 or at == last:
            root = node_hash(sibling, root)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofError("the proof is too short")
    return root


def check_consistency(old: int, new: int, roots: tuple[bytes, bytes], path: Sequence[bytes]) -> None:
    """ProofError unless `path` proves that the tree with the second root begins with that of the first."""
    old_root, new_root = roots
    if old == new:
        if path or old_root != new_root:
            raise ProofError("two logs of one size have different roots")
        return
    if not 0 < old < new or not path:
        raise ProofError("a consistency proof goes from a smaller to a larger log")
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    hashes = list(path)
    first = hashes.pop(0) if at else old_root
    if _climb(at, last, first, hashes) != (old_root, new_root):
        raise ProofError("the larger log does not begin with the smaller one")


def _climb(at: int, last: int, first: bytes, hashes: Sequence[bytes]) -> tuple[bytes, bytes]:
    old = new = first
    for sibling in hashes:
        if not last:
            raise ProofError("the proof is too long")
        if at & 1 or at == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofError("the proof is too short")
    return old, new


@dataclass(frozen=True, slots=True)
class Receipt:
    """C2SP tlog-proof: a record, its place, and the signed checkpoint that it lies under. It verifies offline."""

    index: int
    line: bytes  # the record, in the proof's `extra`
    path: tuple[bytes, ...]
    checkpoint: str  # a signed note

    def text(self) -> str:
        hashes = [base64.b64encode(node).decode() for node in self.path]
        lines = [_HEADER, f"extra {base64.b64encode(self.line).decode()}", f"index {self.index}", *hashes, ""]
        return "\n".join(lines) + "\n" + self.checkpoint

    def verify(self, key: VerifierKey) -> None:
        """ProofError or NoteError unless the log of `key` signed for this record at this index."""
        checkpoint = open_checkpoint(self.checkpoint, key)
        if root_from_inclusion(self.index, checkpoint.size, leaf_hash(self.line), self.path) != checkpoint.root:
            raise ProofError(f"the record is not number {self.index} of the log that was signed for")


def parse_receipt(text: str) -> Receipt:
    """Read a .tlog-proof file that carries its record; ProofError otherwise."""
    proof, gap, checkpoint = text.partition("\n\n")
    lines = proof.split("\n")
    if not gap or len(lines) < 3 or lines[0] != _HEADER:
        raise ProofError(f"a receipt begins with {_HEADER}, and a checkpoint ends it")
    extra, number = lines[1].removeprefix("extra "), lines[2].removeprefix("index ")
    if extra == lines[1] or number == lines[2] or not number.isascii() or not number.isdigit():
        raise ProofError("a receipt names the record (extra) and its index")
    try:
        path = tuple(decode_base64(line) for line in lines[3:])
        return Receipt(int(number), decode_base64(extra), path, checkpoint)
    except NoteError as error:
        raise ProofError(str(error)) from None
