"""Ask an upstream whether it can serve, without a prompt: the cheapest question that its software answers truly."""

from __future__ import annotations

import asyncio

from policies import Backend, UpstreamRule
from router.channel.messages import Cause
from router.gate.connection import UpstreamConnection, UpstreamFault
from router.gate.pool import Pool
from router.gate.request import base_path, get

CONNECT_S = 5.0
ANSWER_S = 10.0
LARGEST_ANSWER = 4 * 1024 * 1024
ROOT_PROBES = {
    Backend.LLAMA_CPP: "/health",
    Backend.VLLM: "/health",
    Backend.TGI: "/health",
    Backend.OLLAMA: "/api/version",
}


def probe_path(rule: UpstreamRule) -> str:
    """Where to ask: beside the OpenAI surface for software we know, else its list of models."""
    known = ROOT_PROBES.get(rule.backend)
    if known is None:
        return f"{base_path(rule)}/models"
    return f"{base_path(rule).removesuffix('/v1')}{known}"


def is_cold(status: int, content_type: str) -> bool:
    """A sleeping Space answers 503, or an HTML page; llama-server answers 503 while it loads."""
    return status == 503 or content_type.startswith("text/html")


async def probe(pool: Pool, credential: str) -> None:
    """Returns when the upstream said it can serve; UpstreamFault(COLD) while it loads, another fault otherwise."""
    connection = await pool.fresh(CONNECT_S)
    try:
        async with asyncio.timeout(ANSWER_S):
            connection.send(get(pool.rule, probe_path(pool.rule), credential))
            await connection.head()
            await _drain(connection)
    except TimeoutError:
        raise UpstreamFault(Cause.COLD, "silent") from None
    finally:
        pool.give_back(connection)
    content_type = connection.headers.get(b"content-type", b"").decode("latin-1")
    if is_cold(connection.status, content_type):
        raise UpstreamFault(Cause.COLD, f"status {connection.status}")
    if connection.status >= 400:
        raise UpstreamFault(Cause.BAD_ANSWER, f"probe answered {connection.status}")


async def _drain(connection: UpstreamConnection) -> None:
    held = 0
    while (data := await connection.chunk()) is not None:
        held += len(data)
        if held > LARGEST_ANSWER:
            raise UpstreamFault(Cause.TOO_LARGE, "an endless answer to a probe")
