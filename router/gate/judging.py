"""What a body is judged by, in the gate: it is read here once more, and what was judged is what is sent."""

from __future__ import annotations

from typing import Any

import msgspec

from policies import Decision, Reason, judge_body
from router.gate.digests import texts_of

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode
UNREADABLE = Decision(allowed=False, reason=Reason.BODY_UNREADABLE)
ANOTHER_MODEL = Decision(allowed=False, reason=Reason.MODEL_UNKNOWN)


class Judged(msgspec.Struct, frozen=True, gc=False):
    """`body`: what may be sent, in one spelling for every parser; `texts`: what the ledger remembers by digest."""

    verdict: Decision
    body: bytes = b""
    texts: tuple[bytes, ...] = ()


def judged(given: bytes | memoryview, served_model: str) -> Judged:
    """Is this body for that model, and without anything that re-aims?"""
    try:
        document = _decode(given)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Judged(UNREADABLE)
    if document.get("model") != served_model:
        return Judged(ANOTHER_MODEL)
    verdict = judge_body(document)
    if not verdict.allowed:
        return Judged(verdict)
    return Judged(verdict, _encode(document), tuple(texts_of(document)))
