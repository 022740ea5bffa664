"""Whole server-sent events, whatever the pieces."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.gate import events
from router.gate.events import EventSplitter, EventTooLarge

STREAM = b': hello\n\ndata: {"a": "data:x\\n"}\n\ndata: {"b": 2}\n\ndata: [DONE]\n\n'


@given(st.lists(st.integers(1, len(STREAM)), max_size=12))
def test_only_whole_events_come_out_and_none_is_lost(cuts: list[int]) -> None:
    splitter = EventSplitter()
    borders = sorted({0, len(STREAM), *cuts})
    pieces = [splitter.feed(STREAM[a:b]) for a, b in pairwise(borders)]
    assert b"".join(pieces) == STREAM
    assert all(piece.endswith(b"\n\n") for piece in pieces if piece)
    assert splitter.done
    assert not splitter.unfinished


def test_every_single_cut_gives_the_same() -> None:
    for at in range(1, len(STREAM)):
        splitter = EventSplitter()
        assert splitter.feed(STREAM[:at]) + splitter.feed(STREAM[at:]) == STREAM


@pytest.mark.parametrize("newline", [b"\r\n", b"\r"])
def test_other_line_ends_become_newlines(newline: bytes) -> None:
    stream = STREAM.replace(b"\n", newline)
    for at in range(1, len(stream)):
        splitter = EventSplitter()
        assert splitter.feed(stream[:at]) + splitter.feed(stream[at:]) == STREAM
        assert splitter.done
        assert not splitter.unfinished


PIECES = st.lists(
    st.sampled_from([b"data: ", b"data:", b": ", b"{}", b"[DONE]", b"\n", b"\n\n", b"\r\n", b"\r", b" ", b"data"]),
    max_size=6,
)


@example([], [b"data: ", b"\r", b"\n\n"])
@example([b"data: ", b"\r"], [b"data: ", b"\n\n"])
@example([b"data: "], [b"data: ", b"\n\n"])
@example([], [b"data: ", b"[DONE]", b"\n\n"])
@example([], [b"data: ", b"\n", b" "])
@example([b"data: ", b"\r", b"\r"], [b"data: ", b"\n\n"])
@example([], [b"data: ", b"\n", b"data:", b"\n\n"])
@given(PIECES, PIECES)
def test_what_is_seen_at_a_glance_is_what_a_closer_look_finds(before: list[bytes], event: list[bytes]) -> None:
    """Whatever came before it, and whatever it is."""
    glance, closer = EventSplitter(), EventSplitter()
    for data in (b"".join(before), b"".join(event), b"\ndata: {}\n\n"):
        with patch.object(events, "_LF", -1):  # no event looks like one at a glance
            told = closer.feed(data), closer.spoke
        assert (glance.feed(data), glance.spoke) == told
        assert (glance.done, glance.unfinished) == (closer.done, closer.unfinished)


def test_a_missing_space_is_given() -> None:
    assert EventSplitter().feed(b'data:{"x":1}\n\n') == b'data: {"x":1}\n\n'


def test_text_that_looks_like_a_field_is_not_touched() -> None:
    event = b'data: {"content": "use data:{}"}\n\n'
    assert EventSplitter().feed(event) == event


def test_what_follows_the_last_blank_line_is_unfinished() -> None:
    splitter = EventSplitter()
    splitter.feed(b"data: [DONE]\n\ndata: {")
    assert splitter.unfinished


def test_an_event_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LARGEST_EVENT", 100)
    splitter = EventSplitter()
    with pytest.raises(EventTooLarge):
        splitter.feed(b"data: " + b"x" * 200)


def test_a_large_event_is_not_copied_for_each_of_its_pieces() -> None:
    """An upstream that sends one byte at a time would take all of the gate's time, which others wait for."""
    splitter = EventSplitter()
    splitter.feed(b"data: " + b"x" * 1_000_000)
    splitter.feed(b"x")  # it has room to grow from here on
    tracemalloc.start()
    try:
        for _ in range(100):
            assert splitter.feed(b"x") == b""
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert splitter.feed(b"\n\n") == b"data: " + b"x" * 1_000_101 + b"\n\n"
