"""How an upstream's answer begins is remembered, and what differs is never taken for what was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from policies import Destination, Reach, UpstreamRule
from router.channel.messages import Head, decode
from router.gate import answer_head
from router.gate.answer_head import Openings

RULE = UpstreamRule("u", Reach.HOST, destination=Destination("http", "127.0.0.1", 8000, "/v1"))


def read(status: int, **headers: str) -> Any:
    """A connection that has read this head."""
    raw = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    texts = {name.decode(): value.decode() for name, value in raw.items()}
    return SimpleNamespace(status=status, headers=raw, texts=lambda: texts)


def told(openings: Openings, status: int, **headers: str) -> Head:
    return decode(Head, openings.of(read(status, **headers)).message)


def test_a_head_that_differs_in_anything_that_is_told_is_another() -> None:
    openings = Openings(RULE)
    for _ in range(2):
        assert told(openings, 200, content_type="Application/JSON; Charset=X") == Head(
            200, "application/json; Charset=X"
        )
        assert told(openings, 201, content_type="application/json") == Head(201, "application/json")
        assert told(openings, 429, retry_after="7") == Head(429, "", "7")
        assert told(openings, 429, retry_after="8") == Head(429, "", "8")
        assert told(openings, 200, x_ringfence_clamped="8") == Head(200, "", "", "8")
        assert told(openings, 200) == Head(200, "")
    assert openings.of(read(200, content_type="text/event-stream")).streams
    assert openings.of(read(503)).cold
    assert not openings.of(read(200)).cold


def test_one_that_gives_its_sender_away_is_caught_though_the_same_was_allowed_without_that_name() -> None:
    openings = Openings(RULE)
    for _ in range(2):
        assert openings.of(read(200, content_type="application/json")).judged.allowed
        assert not openings.of(read(200, content_type="application/json", x_groq_id="1")).judged.allowed


def test_no_upstream_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_head, "MOST", 3)
    openings = Openings(RULE)
    for seconds in range(20):
        assert told(openings, 429, retry_after=str(seconds)).retry_after == str(seconds)
        assert len(openings._known) <= 3
