"""The Merkle tree of RFC 6962, section 2.1, over leaf hashes: pure functions and a growing right edge."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def empty_root() -> bytes:
    """The root of no records: SHA-256 of nothing."""
    return hashlib.sha256(b"").digest()


def fold(peaks: Sequence[bytes]) -> bytes:
    """The root, from the roots of the complete subtrees, largest first."""
    if not peaks:
        return empty_root()
    root = peaks[-1]
    for peak in peaks[-2::-1]:
        root = node_hash(peak, root)
    return root


def pair(nodes: Sequence[bytes]) -> list[bytes]:
    """The parents of an even number of neighbours."""
    sha256 = hashlib.sha256
    return [sha256(b"\x01" + a + b).digest() for a, b in zip(nodes[::2], nodes[1::2], strict=True)]


def complete_root(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of leaf or node hashes."""
    level = list(hashes)
    while len(level) > 1:
        level = pair(level)
    return level[0]
