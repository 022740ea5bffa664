"""One small question to an upstream about itself, no prompt in it: bounded in time and size."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from router.channel.messages import Cause
from router.gate.connection import UpstreamConnection, UpstreamFault
from router.gate.pool import Pool

CONNECT_S = 5.0
ANSWER_S = 10.0
LARGEST_ANSWER = 4 * 1024 * 1024


class Answer(Struct, frozen=True):
    """Header names in lower case; `certificate`: DER, of the connection, b"" without TLS."""

    status: int
    headers: dict[str, str]
    body: bytes
    certificate: bytes


async def ask(pool: Pool, request: bytes, answer_s: float | None = None) -> Answer:
    """On a new connection: that one can be had is half of the answer. UpstreamFault: COLD when it is silent."""
    connection = await pool.fresh(CONNECT_S)
    return await _ask(pool, connection, request, ANSWER_S if answer_s is None else answer_s)


async def ask_more(pool: Pool, request: bytes) -> Answer:
    """On a kept connection if there is one; one that turns out stale is replaced."""
    kept = pool.idle()
    if kept is not None:
        try:
            return await _ask(pool, kept, request, ANSWER_S)
        except UpstreamFault as fault:
            if fault.cause is not Cause.BROKE or kept.received:
                raise
    return await ask(pool, request)


async def _ask(pool: Pool, connection: UpstreamConnection, request: bytes, answer_s: float) -> Answer:
    try:
        async with asyncio.timeout(answer_s):
            connection.send(request)
            pool.asked = connection.address
            await connection.head()
            body = bytearray()
            while (data := await connection.chunk()) is not None:
                body += data
                if len(body) > LARGEST_ANSWER:
                    raise UpstreamFault(Cause.TOO_LARGE, "an endless answer to a probe")
        return Answer(connection.status, connection.texts(), bytes(body), connection.peer_certificate())
    except TimeoutError:
        raise UpstreamFault(Cause.COLD, "silent") from None
    finally:
        pool.heard = connection.received
        pool.give_back(connection)
