"""Showing the log's newest checkpoint to a listed witness (C2SP tlog-witness): it cosigns what continues what it knows.

No prompt and no record goes there: a size, hashes and signatures do.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from msgspec import Struct

from policies import Reach, UpstreamRule, classify_reach
from router.audit.format.notes import NoteError, open_checkpoint
from router.audit.format.proofs import ProofError
from router.audit.format.tiles import TileError
from router.audit.format.witness import parse_witness
from router.audit.prove import read_vkey, witness_request
from router.gate.connection import UpstreamFault
from router.gate.dial import Dialler
from router.gate.pool import Pool
from router.gate.question import Answer, ask
from router.gate.request import post_text
from router.settings.snapshot import TlsMaterial, Witness

OK: Final = 200
CONFLICT: Final = 409
UNPROVEN: Final = 422
_REFUSALS: Final = {
    403: "it does not trust this log's key: give its keeper the line in log.vkey",
    404: "it does not know this log: give its keeper the line in log.vkey",
}


class AnchorError(Exception):
    """The witness did not cosign: a sentence for the operator."""


class AnchorRefused(AnchorError):
    """It did not, because this log does not continue the one that it knows."""


class Anchored(Struct, frozen=True):
    """What was cosigned: `note` is the checkpoint with both signatures."""

    size: int
    moment: int  # seconds since 1970, of the witness
    note: str


class Seen(Struct):
    """What passed, for a record. `ending`: `completed`, once there was a whole answer, or what went wrong."""

    ending: str = "refused"
    status: int = 0
    sent: int = 0
    received: int = 0
    address: str = ""


async def anchor(directory: Path, witness: Witness, dialler: Dialler, seen: Seen) -> Anchored:
    """Ask once, and once more if the witness says that it knows another size. AnchorError: it did not cosign."""
    reach = classify_reach(witness.destination) or Reach.RENTED
    rule = UpstreamRule(witness.name, reach, destination=witness.destination)
    pool = Pool(rule, dialler, TlsMaterial(witness.authorities) if witness.authorities else None)
    try:
        request, answer = await _submit(directory, pool, seen)
    finally:
        pool.retire()
        await asyncio.sleep(0)  # for the loop to close what it was told to
    if answer.status in (CONFLICT, UNPROVEN):
        raise AnchorRefused(f"the witness {witness.name} knows another log than this one: it was rewritten; verify it")
    if answer.status != OK:
        why = _REFUSALS.get(answer.status, "see C2SP tlog-witness for what that means")
        raise AnchorError(f"the witness {witness.name} answered {answer.status}: {why}")
    return _checked(directory, witness, request.partition("\n\n")[2], answer)


async def _submit(directory: Path, pool: Pool, seen: Seen) -> tuple[str, Answer]:
    request = await asyncio.to_thread(_request, directory, 0)  # which may read much of the ledger
    answer = await _ask(pool, request, seen)
    if answer.status == CONFLICT:
        request = await asyncio.to_thread(_request, directory, _size(answer))
        answer = await _ask(pool, request, seen)
    return request, answer


def _request(directory: Path, old: int) -> str:
    try:
        return witness_request(directory, old)
    except ProofError as error:
        raise AnchorRefused(f"{error}, or rolled back") from None
    except (TileError, NoteError, OSError) as error:
        raise AnchorError(f"{error}") from None


async def _ask(pool: Pool, body: str, seen: Seen) -> Answer:
    request = post_text(pool.rule, "/add-checkpoint", body.encode())
    pool.asked, pool.heard = "", 0
    try:
        answer = await ask(pool, request)
    except UpstreamFault as fault:
        seen.ending = str(fault.cause)
        raise AnchorError(f"the witness {pool.rule.name} cannot be asked: {fault.cause}: {fault.detail}") from None
    finally:
        seen.address = pool.asked or seen.address
        seen.sent += len(request) if pool.asked else 0
        seen.received += pool.heard
    seen.ending, seen.status = "completed", answer.status
    return answer


def _size(answer: Answer) -> int:
    text = answer.body.decode("ascii", "replace").removesuffix("\n")
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise AnchorError("the witness knows another size of this log, but does not say which")
    return int(text)


def _checked(directory: Path, witness: Witness, note: str, answer: Answer) -> Anchored:
    """Nothing is taken on trust: the cosignature must be the listed key's, over the checkpoint that we sent."""
    cosigned = note + answer.body.decode("utf-8", "replace")
    try:
        checkpoint = open_checkpoint(cosigned, read_vkey(directory))
        moment = parse_witness(witness.vkey).cosigned_at(checkpoint, cosigned)
    except NoteError as error:
        raise AnchorError(f"the witness {witness.name} answered, but {error}") from None
    return Anchored(checkpoint.size, moment, cosigned)
