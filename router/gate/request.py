"""The bytes of a request to an upstream: every header built here, none taken over from a client."""

from __future__ import annotations

import hashlib

from policies import UpstreamRule
from router.channel.messages import Open

AGENT = "ringfence"


def _lines(method: str, path: str, rule: UpstreamRule, credential: str) -> str:
    host = rule.destination.authority if rule.destination is not None else "engine"
    bearer = f"Authorization: Bearer {credential}\r\n" if credential else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\nAccept-Encoding: identity\r\n{bearer}"


def base_path(rule: UpstreamRule) -> str:
    """Where the upstream's OpenAI surface begins; an engine's is at /v1."""
    return rule.destination.path if rule.destination is not None else "/v1"


def post(rule: UpstreamRule, credential: str, message: Open, body: bytes) -> bytes:
    """One JSON request to one of the known paths."""
    accept = "text/event-stream" if message.stream else "application/json"
    scope = ""
    if rule.engine is not None:  # our own engine: one caller's cached prompts are not another's to find by their speed
        scope = f"X-Ringfence-Scope: {hashlib.sha256(message.caller.encode()).hexdigest()}\r\n"
    head = (
        f"{_lines('POST', f'{base_path(rule)}/{message.endpoint}', rule, credential)}Accept: {accept}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-Request-ID: {message.request_id}\r\n{scope}\r\n"
    )
    return head.encode("latin-1") + body


def post_question(rule: UpstreamRule, path: str, credential: str, body: bytes) -> bytes:
    """A probe that is asked with a small JSON document of ours."""
    head = (
        f"{_lines('POST', path, rule, credential)}Accept: application/json\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body


def post_text(rule: UpstreamRule, path: str, body: bytes) -> bytes:
    """Plain text to a place under the destination's own path."""
    head = (
        f"{_lines('POST', f'{base_path(rule)}{path}', rule, '')}Accept: text/plain\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body


def get(rule: UpstreamRule, path: str, credential: str) -> bytes:
    """A probe."""
    return f"{_lines('GET', path, rule, credential)}Accept: application/json\r\n\r\n".encode("latin-1")
