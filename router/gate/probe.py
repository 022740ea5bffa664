"""Ask an upstream whether it can serve, without a prompt: the cheapest question that its software answers truly."""

from __future__ import annotations

from policies import Backend, UpstreamRule
from router.channel.messages import Cause
from router.gate.answer_head import is_cold
from router.gate.connection import UpstreamFault
from router.gate.pool import Pool
from router.gate.question import ask
from router.gate.request import base_path, get

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


async def probe(pool: Pool, credential: str, answer_s: float | None = None) -> None:
    """Returns when the upstream said it can serve; UpstreamFault(COLD) while it loads, another fault otherwise."""
    answer = await ask(pool, get(pool.rule, probe_path(pool.rule), credential), answer_s)
    if is_cold(answer.status, answer.headers.get("content-type", "")):
        raise UpstreamFault(Cause.COLD, f"status {answer.status}")
    if answer.status >= 400:
        raise UpstreamFault(Cause.BAD_ANSWER, f"probe answered {answer.status}")
