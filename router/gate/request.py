"""The bytes of a request to an upstream: every header built here, none taken over from a client."""

from __future__ import annotations

import hashlib

from policies import Endpoint, UpstreamRule

AGENT = "ringfence"


def _lines(method: str, path: str, rule: UpstreamRule, credential: str) -> str:
    host = rule.destination.authority if rule.destination is not None else "engine"
    bearer = f"Authorization: Bearer {credential}\r\n" if credential else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\nAccept-Encoding: identity\r\n{bearer}"


def base_path(rule: UpstreamRule) -> str:
    """Where the upstream's OpenAI surface begins; an engine's is at /v1."""
    return rule.destination.path if rule.destination is not None else "/v1"


def heads(rule: UpstreamRule, credential: str, endpoint: Endpoint, caller: str) -> tuple[bytes, bytes]:
    """Of a JSON request to one of the known paths, for a whole answer and for a stream: what `post` goes on from."""
    scope = ""
    if rule.engine is not None:  # our own engine: one caller's cached prompts are not another's to find by their speed
        scope = f"X-Ringfence-Scope: {hashlib.sha256(caller.encode()).hexdigest()}\r\n"
    lines = _lines("POST", f"{base_path(rule)}/{endpoint}", rule, credential)
    whole, stream = (
        f"{lines}Accept: {accept}\r\nContent-Type: application/json\r\n{scope}".encode("latin-1")
        for accept in ("application/json", "text/event-stream")
    )
    return whole, stream


def post(head: bytes, request_id: str, body: bytes) -> bytes:
    """One request, whole. `request_id`: as the channel admits it."""
    return b"%sContent-Length: %d\r\nX-Request-ID: %s\r\n\r\n%s" % (head, len(body), request_id.encode(), body)


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
