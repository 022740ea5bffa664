"""Ask an upstream what it is, before it is sent anything that matters. What the answers mean is `policies.identity`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from policies import Backend, Heard, Identity, judge_identity, questions_after, questions_for
from policies.identity import MODELS, OLLAMA_SHOW
from router.channel.messages import Cause
from router.gate.connection import UpstreamFault
from router.gate.pool import Pool
from router.gate.question import Answer, ask_more
from router.gate.request import base_path, get, post_question

MOST_SHOWN = 16  # models that Ollama is asked about one by one
NO_ANSWER = frozenset({Cause.BROKE, Cause.BAD_ANSWER, Cause.REDIRECT, Cause.TOO_LARGE, Cause.COLD})


async def identify(pool: Pool, credential: str, asked: frozenset[str]) -> Identity:
    """The judgement over what it answers; UpstreamFault when it cannot be asked at all."""
    rule = pool.rule
    heard: list[Heard] = []
    names: set[str] = set()

    async def hear(questions: Iterable[str]) -> None:
        for question in questions:
            answer = await _answer(pool, get(rule, _path(pool, question), credential))
            if answer is not None:
                heard.append(_heard(question, answer))
                names.update(_certificate_names(answer.certificate))

    await hear(questions_for(rule.backend))
    await hear(questions_after(rule.backend, heard))
    if rule.backend is Backend.OLLAMA:
        for model in sorted(asked)[:MOST_SHOWN]:
            request = post_question(rule, _path(pool, OLLAMA_SHOW), credential, msgspec.json.encode({"model": model}))
            answer = await _answer(pool, request)
            if answer is not None:
                heard.append(_named(model, _heard(OLLAMA_SHOW, answer)))
    return judge_identity(rule, asked, heard, sorted(names))


async def _answer(pool: Pool, request: bytes) -> Answer | None:
    """None for an answer that is none: servers hang up on, or are silent about, paths that they do not know."""
    try:
        return await ask_more(pool, request)
    except UpstreamFault as fault:
        if fault.cause in NO_ANSWER:
            return None
        raise


def _path(pool: Pool, question: str) -> str:
    base = base_path(pool.rule)
    return f"{base}/{MODELS}" if question == MODELS else f"{base.removesuffix('/v1')}{question}"


def _heard(question: str, answer: Answer) -> Heard:
    document: Any = None
    try:
        document = msgspec.json.decode(answer.body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        document = None  # not JSON: it says nothing then
    return Heard(question, answer.status, answer.headers, document)


def _named(model: str, heard: Heard) -> Heard:
    """Ollama does not repeat the name that it was asked about."""
    if not isinstance(heard.document, dict):
        return heard
    return Heard(heard.question, heard.status, heard.headers, {**heard.document, "name": model})


def _certificate_names(certificate: bytes) -> tuple[str, ...]:
    """As `certificates` has it; none without TLS, where that module is not needed."""
    if not certificate:
        return ()
    from router.gate.certificates import certificate_names  # noqa: PLC0415 - as it says itself

    return certificate_names(certificate)
