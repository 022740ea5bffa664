"""A listed witness, asked by the gate at an operator's order: recorded as every exchange is, before it is dialled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from policies import Reach, classify_reach
from router.audit import Kind, LedgerUnavailable
from router.channel.anchors import AnchorTold
from router.gate.anchoring import AnchorError, AnchorRefused, Seen, anchor
from router.gate.dial import Dialler
from router.gate.endings import MISTAKE
from router.gate.world import World
from router.settings.snapshot import Witness
from router.unforeseen import described

CALLER: Final = "operator"
ENDPOINT: Final = "audit/anchor"


async def ask_witness(number: str, name: str, world: World, dialler: Dialler) -> AnchorTold:
    """What came of it. No record, no question."""
    listed = {one.name: one for one in world.snapshot.witnesses}
    if name not in listed:
        known = ", ".join(sorted(listed)) or "none"
        return AnchorTold(trouble=f"no witness '{name[:64]}' is in force in the service (there: {known}); reload it?")
    try:
        decision = await world.recorder.record(Kind.DECISION, _decision(number, listed[name], world))
    except LedgerUnavailable as error:
        return AnchorTold(trouble=f"it cannot be recorded, so nothing was asked: {error}")
    seen, loop = Seen(), asyncio.get_running_loop()
    began = loop.time()
    try:
        found = await anchor(Path(world.snapshot.audit.directory), listed[name], dialler, seen)
    except AnchorError as error:
        return AnchorTold(trouble=str(error), refused=isinstance(error, AnchorRefused))
    except Exception as error:  # noqa: BLE001 - whatever it is, the operator who waits is told
        seen.ending = MISTAKE
        return AnchorTold(trouble=f"asking the witness failed by a mistake of ours: {described(error)}")
    except asyncio.CancelledError:
        seen.ending = "interrupted"  # the service ends
        raise
    finally:
        world.recorder.note(Kind.OUTCOME, _outcome(decision, seen, (loop.time() - began) * 1000))
    return AnchorTold(found.note, found.size, found.moment)


def _decision(number: str, witness: Witness, world: World) -> dict[str, object]:
    return {
        "request_id": f"anchor-{number}",
        "caller": CALLER,
        "model": "",
        "endpoint": ENDPOINT,
        "upstream": witness.name,
        "policy": world.snapshot.policy.digest,
        "reason": "allowed",
        "reach": (classify_reach(witness.destination) or Reach.RENTED).word,
    }


def _outcome(decision: int, seen: Seen, total_ms: float) -> dict[str, object]:
    return {
        "decision": decision,
        "ending": seen.ending,
        "status": seen.status,
        "sent_bytes": seen.sent,
        "received_bytes": seen.received,
        "first_byte_ms": -1.0,
        "total_ms": total_ms,
        **({"address": seen.address} if seen.address else {}),
    }
