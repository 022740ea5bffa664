"""What of an upstream's head may travel on to the worker: a closed list; and what the head gives away."""

from __future__ import annotations

from dataclasses import dataclass

from policies import Decision, UpstreamRule, judge_head
from router.channel.messages import Head, encode
from router.gate.connection import UpstreamConnection

MOST = 64  # remembered; then all are forgotten, so that no upstream can fill the memory
_TELLING = (b"content-type", b"retry-after", b"x-ringfence-clamped")


@dataclass(frozen=True, slots=True)
class Opening:
    """How an answer begins."""

    judged: Decision  # what its head gives away, by the names of its headers alone
    cold: bool
    streams: bool
    retry_after: str  # as the upstream wrote it
    message: bytes  # a Head, as the worker is sent it


class Openings:
    """Of one upstream: it begins most of its answers alike."""

    def __init__(self, rule: UpstreamRule) -> None:
        self._rule = rule
        self._known: dict[tuple[object, ...], Opening] = {}

    def of(self, connection: UpstreamConnection) -> Opening:
        """The one that `connection` has read."""
        headers = connection.headers
        key = (connection.status, *headers, *map(headers.get, _TELLING))
        opening = self._known.get(key)
        if opening is None:
            if len(self._known) >= MOST:
                self._known.clear()
            opening = self._known[key] = self._made(connection)
        return opening

    def _made(self, connection: UpstreamConnection) -> Opening:
        content_type, retry_after, clamped = (_text(connection.headers.get(name, b"")) for name in _TELLING)
        head = Head(connection.status, _spelled(content_type), retry_after, clamped)
        return Opening(
            judge_head(self._rule, connection.texts()),
            is_cold(head.status, head.content_type),
            head.content_type.startswith("text/event-stream"),
            retry_after,
            encode(head),
        )


def is_cold(status: int, content_type: str) -> bool:
    """A sleeping Space answers 503, or 200 with an HTML page; llama-server answers 503 while it loads.

    An HTML page with another status is some proxy's error: waiting would not help.
    """
    return status == 503 or (status < 400 and content_type.lower().startswith("text/html"))


def _spelled(content_type: str) -> str:
    kind, semicolon, parameters = content_type.partition(";")
    return f"{kind.strip().lower()}{semicolon}{parameters}"  # RFC 9110, 8.3.1: type and subtype in any case


def _text(value: bytes) -> str:
    return value.decode("latin-1")[:200]
