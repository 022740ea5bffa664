"""The bytes of a request to an upstream: every header built here, none taken over from a client."""

from __future__ import annotations

import hashlib

from policies import UpstreamRule
from router.channel.messages import Open

AGENT = "ringfence"


def _lines(method: str, path: str, rule: UpstreamRule, credential: str) -> list[str]:
    host = rule.destination.authority if rule.destination is not None else "engine"
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"User-Agent: {AGENT}", "Accept-Encoding: identity"]
    if credential:
        lines.append(f"Authorization: Bearer {credential}")
    return lines


def base_path(rule: UpstreamRule) -> str:
    """Where the upstream's OpenAI surface begins; an engine's is at /v1."""
    return rule.destination.path if rule.destination is not None else "/v1"


def post(rule: UpstreamRule, credential: str, message: Open, body: bytes) -> bytes:
    """One JSON request to one of the known paths."""
    lines = _lines("POST", f"{base_path(rule)}/{message.endpoint}", rule, credential)
    lines += [
        f"Accept: {'text/event-stream' if message.stream else 'application/json'}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"X-Request-ID: {message.request_id}",
    ]
    if rule.engine is not None:  # our own engine: one caller's cached prompts are not another's to find by their speed
        lines.append(f"X-Ringfence-Scope: {hashlib.sha256(message.caller.encode()).hexdigest()}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def post_question(rule: UpstreamRule, path: str, credential: str, body: bytes) -> bytes:
    """A probe that is asked with a small JSON document of ours."""
    lines = [*_lines("POST", path, rule, credential), "Accept: application/json"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def get(rule: UpstreamRule, path: str, credential: str) -> bytes:
    """A probe."""
    lines = [*_lines("GET", path, rule, credential), "Accept: application/json"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
