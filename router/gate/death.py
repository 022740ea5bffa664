"""A program of ours that dies: who asked it is told to come again, for it is started again; not that it is broken."""

from __future__ import annotations

import asyncio
from typing import Final

from router.channel.messages import Cause
from router.gate.connection import UpstreamFault
from router.gate.pool import Pool
from router.gate.relay import Relay

CONNECT_S: Final = 0.5
DYING_S: Final = 0.1  # a process that dies closes what it has one by one: the listening socket may be the last
COME_BACK_S: Final = 3.0
DIED: Final = frozenset({Cause.BROKE, Cause.REFUSED})  # what a death looks like from here


async def of_a_program(fault: UpstreamFault, pool: Pool, relay: Relay | None) -> UpstreamFault:
    """COLD in the place of what went wrong, if its program is gone and no part of a stream has gone on.

    That nobody listens any more is known at once; the supervisor's word would come too late.
    """
    spoken = relay is not None and relay.spoken
    if fault.cause not in DIED or spoken or (fault.cause is Cause.BROKE and await _lives(pool)):
        return fault
    return UpstreamFault(Cause.COLD, "its program has died", COME_BACK_S)


async def _lives(pool: Pool) -> bool:
    try:
        connection = await pool.fresh(CONNECT_S)
    except UpstreamFault:
        return False
    try:
        await asyncio.sleep(DYING_S)
        return connection.alive
    finally:
        connection.abort()
