"""What of an upstream's head may travel on to the worker: a closed list."""

from __future__ import annotations

from functools import lru_cache

from router.channel.messages import Head
from router.gate.connection import UpstreamConnection


def head_of(connection: UpstreamConnection) -> Head:
    """The head that `connection` has read."""
    headers = connection.headers
    content_type = _content_type(headers.get(b"content-type", b""))
    if b"retry-after" not in headers and b"x-ringfence-clamped" not in headers:
        return Head(connection.status, content_type)
    retry_after, clamped = (_text(headers.get(name, b"")) for name in (b"retry-after", b"x-ringfence-clamped"))
    return Head(connection.status, content_type, retry_after, clamped)


@lru_cache(maxsize=64)  # upstreams know a handful
def _content_type(value: bytes) -> str:
    kind, semicolon, parameters = _text(value).partition(";")
    return f"{kind.strip().lower()}{semicolon}{parameters}"  # RFC 9110, 8.3.1: type and subtype in any case


def _text(value: bytes) -> str:
    return value.decode("latin-1")[:200]
