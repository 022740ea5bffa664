"""Reasoning and tool calls in what a model writes, however the stream cuts it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_engine.text.markup import Call, Markup, MarkupReader, Said

TOOLS = Markup(tools=True)
THINKS = Markup(thinks=True, tools=True)
INSIDE = Markup(thinks=True, inside=True)
CALL = '<tool_call>\n{"name": "f", "arguments": {"é": 1}}\n</tool_call>'


def reads(markup: Markup, pieces: list[str]) -> list[tuple[str, str]]:
    """What was read, with neighbouring texts of a kind joined."""
    reader = MarkupReader(markup)
    items = [item for piece in pieces for item in reader.feed(piece)] + reader.finish()
    found: list[tuple[str, str]] = []
    for item in items:
        kind, text = ("call", f"{item.name} {item.arguments}") if isinstance(item, Call) else (item.kind, item.text)
        if found and kind == found[-1][0] != "call":
            found[-1] = (kind, found[-1][1] + text)
        else:
            found.append((kind, text))
    return found


CASES = [
    (TOOLS, "plain < text", [("content", "plain < text")]),
    (TOOLS, CALL, [("call", 'f {"é": 1}')]),
    (TOOLS, f"First.\n{CALL}\n{CALL}", [("content", "First.\n"), ("call", 'f {"é": 1}'), ("call", 'f {"é": 1}')]),
    (TOOLS, '<tool_call>{"name": "f", "arguments": "{}"}</tool_call>', [("call", "f {}")]),
    (TOOLS, '<tool_call>{"name": "f"}', [("call", "f {}")]),
    (TOOLS, "<tool_call>no json</tool_call> so", [("content", "<tool_call>no json</tool_call>so")]),
    (TOOLS, '<tool_call>{"name": 7}</tool_call>', [("content", '<tool_call>{"name": 7}</tool_call>')]),
    (TOOLS, '<tool_call>{"name": "f", "arguments": 7}', [("content", '<tool_call>{"name": "f", "arguments": 7}')]),
    (TOOLS, "<tool_call", [("content", "<tool_call")]),
    (TOOLS, "<think>x</think>", [("content", "<think>x</think>")]),
    (THINKS, "<think>\nhm\n</think>\n\nYes", [("reasoning_content", "hm\n"), ("content", "Yes")]),
    (THINKS, f"\n<think>hm</think>{CALL}", [("reasoning_content", "hm"), ("call", 'f {"é": 1}')]),
    (THINKS, "Yes <think>no</think>", [("content", "Yes <think>no</think>")]),
    (THINKS, "<think>a</think><think>b", [("reasoning_content", "a"), ("content", "<think>b")]),
    (THINKS, "<think>cut o", [("reasoning_content", "cut o")]),
    (INSIDE, "hm</think>Yes", [("reasoning_content", "hm"), ("content", "Yes")]),
    (INSIDE, f"hm {CALL}", [("reasoning_content", f"hm {CALL}")]),
]


@pytest.mark.parametrize(("markup", "text", "expected"), CASES)
def test_what_is_read(markup: Markup, text: str, expected: list[tuple[str, str]]) -> None:
    assert reads(markup, [text]) == expected
    assert reads(markup, list(text)) == expected


@given(case=st.sampled_from(CASES), cuts=st.lists(st.integers(0, 80), max_size=6))
def test_the_cuts_of_the_stream_do_not_matter(case: tuple[Markup, str, list[tuple[str, str]]], cuts: list[int]) -> None:
    markup, text, expected = case
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    assert reads(markup, pieces) == expected


@given(text=st.text(alphabet="<>/thinktool_cal{} \n", max_size=60), inside=st.booleans())
def test_nothing_but_space_and_tags_is_ever_lost(text: str, inside: bool) -> None:
    def letters(found: str) -> str:
        for tag in ("<think>", "</think>"):
            found = found.replace(tag, "")
        return "".join(found.split())

    said = [letters(words) for _, words in reads(Markup(thinks=True, inside=inside, tools=True), [text])]
    assert "".join(said) == letters(text)


def test_text_is_released_as_soon_as_it_is_certain() -> None:
    reader = MarkupReader(TOOLS)
    assert reader.feed("one <") == [Said("content", "one ")]
    assert reader.feed("b") == [Said("content", "<b")]
    assert reader.feed("<tool") == []
    assert reader.feed('_call>{"name": "f"}') == []
    assert reader.feed("</tool_call>") == [Call("f", "{}")]
