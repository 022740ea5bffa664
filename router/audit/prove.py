"""Receipts and anchors from a ledger's directory; the ledger may be running."""

from __future__ import annotations

import base64
import json
from itertools import islice
from pathlib import Path

from router.audit.format import layout
from router.audit.format.notes import Checkpoint, VerifierKey, open_checkpoint, parse_vkey
from router.audit.format.proofs import ProofError, Receipt, consistency, inclusion
from router.audit.format.segments import list_segments, read_small, segment_lines
from router.audit.format.tiles import HashReader


def read_vkey(directory: Path) -> VerifierKey:
    return parse_vkey(read_small(directory / layout.VKEY, links=True).decode())


def newest_checkpoint(directory: Path) -> tuple[Checkpoint, str]:
    """The newest checkpoint, verified with the log's own key, and its note."""
    note = read_small(directory / layout.CHECKPOINT, links=True).decode()
    return open_checkpoint(note, read_vkey(directory)), note


def record_line(directory: Path, index: int) -> bytes:
    """The line at `index`, without its line feed; ProofError if it was pruned or never written."""
    holding = [entry for entry in list_segments(directory) if entry[0] <= index][-1:]
    for first, path in holding:
        for line in islice(segment_lines(path), index - first, index - first + 1):
            return line.removesuffix(b"\n")
    raise ProofError(f"there is no record {index} in {directory}")


def prove(directory: Path, index: int) -> Receipt:
    """A receipt under the newest checkpoint; ProofError if the record is not yet under it."""
    checkpoint, note = newest_checkpoint(directory)
    if index >= checkpoint.size:
        raise ProofError(f"record {index} is not under a checkpoint yet: the newest covers {checkpoint.size} records")
    line = record_line(directory, index)
    path = inclusion(index, checkpoint.size, HashReader(directory).root_of)
    receipt = Receipt(index, line, tuple(path), note)
    receipt.verify(read_vkey(directory))
    return receipt


def receipt_for_caller(directory: Path, index: int, caller: str) -> str:
    """The receipt of a decision or denial, for the caller who made that request; ProofError if it was another's."""
    receipt = prove(directory, index)
    body = json.loads(receipt.line)["body"]
    if body.get("caller") != caller:
        raise ProofError(f"record {index} is not of a request of this caller")
    return receipt.text()


def anchor_text(directory: Path) -> str:
    """The short form for a notebook: SIZE:ROOT, as `verify --note` takes it."""
    checkpoint, _ = newest_checkpoint(directory)
    return f"{checkpoint.size}:{base64.b64encode(checkpoint.root).decode()}"


def witness_request(directory: Path, old: int) -> str:
    """The body of a C2SP tlog-witness add-checkpoint request, for a witness whose newest size is `old`."""
    checkpoint, note = newest_checkpoint(directory)
    if not 0 <= old <= checkpoint.size:
        raise ProofError(f"the witness knows {old} records, the log has {checkpoint.size}: it was cut")
    path = consistency(old, checkpoint.size, HashReader(directory).root_of) if 0 < old < checkpoint.size else []
    return "\n".join([f"old {old}", *(base64.b64encode(node).decode() for node in path), "", note])
