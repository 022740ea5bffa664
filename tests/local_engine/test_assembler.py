from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_engine.text.assembler import Assembler


def test_a_character_is_never_cut() -> None:
    assembler = Assembler()
    assert [assembler.feed(bytes([byte])) for byte in "é€😀".encode()] == ["", "é", "", "", "€", "", "", "", "😀"]


def test_half_a_character_at_the_end_is_dropped() -> None:
    assembler = Assembler()
    assert assembler.feed("ok😀".encode()[:-1]) == "ok"
    assert assembler.flush() == ""


@pytest.mark.parametrize(
    ("stops", "pieces", "text", "stopped"),
    [
        (("END",), ["one E", "ND two"], "one ", True),
        (("END",), ["one E", "N", "O"], "one ENO", False),
        (("aab",), ["aa", "ab"], "a", True),
        (("b", "abc"), ["ab"], "a", True),
        (("c", "b"), ["abcd"], "a", True),
        (("\n\n",), ["x\n", "y\n", "\nz"], "x\ny", True),
        (("END",), ["one EN"], "one EN", False),
        ((), ["END"], "END", False),
    ],
)
def test_stop_strings(stops: tuple[str, ...], pieces: list[str], text: str, *, stopped: bool) -> None:
    assembler = Assembler(stops)
    released = ""
    for piece in pieces:
        released += assembler.feed(piece.encode())
        if assembler.stopped:
            break
    released += assembler.flush()
    assert (released, assembler.stopped) == (text, stopped)


@given(
    text=st.text(alphabet="ab\né", max_size=30), stop=st.text(alphabet="ab\né", min_size=1, max_size=4), data=st.data()
)
def test_any_cut_gives_the_same_text(text: str, stop: str, data: st.DataObject) -> None:
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    assembler = Assembler((stop,))
    released = ""
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        if not assembler.stopped:
            released += assembler.feed(raw[start:end])
    released += assembler.flush()
    assert released == text.split(stop, maxsplit=1)[0]
