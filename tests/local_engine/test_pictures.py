"""What a picture may claim, where it may come from, and the tokens that stand for it."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_engine import memory
from local_engine.gguf import BadModelFile, Header
from local_engine.pictures.bounds import BadPicture, check
from local_engine.pictures.data_url import picture_of
from local_engine.pictures.projector_file import read_projector
from local_engine.pictures.prompt import Eye, Layout, Prompt, Unreadable
from local_engine.text.template import ChatTemplate, Part
from tests.local_engine.made import gguf, tiny_projector
from tests.local_engine.pictures import JPEG, chunk, data_url, png

HEAD = b"\x89PNG\r\n\x1a\n"
END = chunk(b"IEND", b"")


def raw(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return HEAD + chunk(b"IHDR", head) + b"".join(chunks)


def frame(width: int, height: int, colours: int = 3, marker: int = 0xC0, factors: int = 0x11) -> bytes:
    body = struct.pack(">BHHB", 8, height, width, colours) + b"\1\x11\0" * (colours - 1) + bytes([3, factors, 0])
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body + b"\xff\xd9"


BOMB = zlib.compress(b"\0" * 50_000_000)


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        (png(96, 80), (96, 80)),
        (png(1, 1), (1, 1)),
        (raw(9, 7, chunk(b"tEXt", b"a"), chunk(b"IDAT", zlib.compress(b"\0" * 300)), END), (9, 7)),
        (raw(64, 64, chunk(b"IDAT", zlib.compress(b"\0" * 64 * 9)), END, depth=1, colour=3), (64, 64)),
        (JPEG, (48, 48)),
        (b"\xff\xd8\xff\xe0\0\4ab\xff\xff" + frame(40, 30)[1:], (40, 30)),
        (b"\xff\xd8" + frame(40, 30, 1, 0xC2), (40, 30)),
    ],
)
def test_size(picture: bytes, size: tuple[int, int]) -> None:
    assert check(picture) == size


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (b"", "neither"),
        (b"GIF89a" + b"\0" * 40, "neither"),
        (b"RIFF\0\0\0\0WEBP", "neither"),
        (b"%PDF-1.7", "neither"),
        (b"<svg/>", "neither"),
        (HEAD, "cut off"),
        (HEAD + chunk(b"IDAT", b""), "header"),
        (png()[:-1], "cut off"),
        (png()[:500], "cut off"),
        (raw(0, 9, END), "no pixels"),
        (raw(60_000, 60_000, END), "at most"),
        (raw(16_385, 300, END), "at most"),
        (raw(4097, 4097, END), "at most"),
        (raw(9, 9 * 65, END), "64 times"),
        (raw(8, 8, END, depth=3), "no known form"),
        (raw(8, 8, END, colour=5), "no known form"),
        (raw(8, 8, chunk(b"CgBI", b"\0" * 4), END), "not of PNG"),
        (raw(8, 8, chunk(b"IDAT", BOMB), END), "inflates to more"),
        (raw(8, 8, chunk(b"IDAT", BOMB[:200]), chunk(b"IDAT", BOMB[200:]), END), "inflates to more"),
        (raw(8, 8, chunk(b"IDAT", b"nonsense"), END), "cannot be inflated"),
        (raw(8, 8, chunk(b"IDAT", zlib.compress(b"\0" * 200)[:-6]), END), "cut off"),
        (raw(8, 8, END), "cut off"),
        (b"\xff\xd8\xff", "cut off"),
        (b"\xff\xd8\xff\xe0\0\4ab" + b"xx" + frame(3, 3), "between"),
        (b"\xff\xd8" + frame(60_000, 60_000), "at most"),
        (b"\xff\xd8" + frame(0, 10), "no pixels"),
        (b"\xff\xd8" + frame(9, 9, 2), "2 colours"),
        (b"\xff\xd8" + frame(9, 9, marker=0xC3), "FFC3"),
        (b"\xff\xd8\xff\xda\0\4ab" + frame(9, 9), "FFDA"),
        (b"\xff\xd8\xff\xc0\0\4\0\0\xff\xd9", "cut off"),
        (b"\xff\xd8\xff\xe0\0\4\xff\xd9", "cut off"),
        (b"\xff\xd8" + frame(16, 16), "as PNG"),
        (b"\xff\xd8" + frame(64, 64, factors=0x44), "as PNG"),
        (b"\xff\xd8" + frame(64, 64, factors=0x50), "sampling"),
    ],
)
def test_what_cannot_be_read_is_refused_before_native_code_sees_it(picture: bytes, words: str) -> None:
    with pytest.raises(BadPicture, match=words):
        check(picture)


@given(st.sampled_from([png(8, 8), JPEG]), st.integers(0, 400), st.binary(max_size=8), st.integers(0, 400))
def test_no_bytes_do_worse_than_be_refused(picture: bytes, at: int, change: bytes, cut: int) -> None:
    try:
        width, height = check((picture[:at] + change + picture[at + len(change) :])[: len(picture) - cut])
    except BadPicture:
        return
    assert 0 < width * height <= 1 << 24


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://example.org/a.png", "nothing is fetched"),
        ("http://169.254.169.254/", "nothing is fetched"),
        ("file:///etc/passwd", "nothing is fetched"),
        ("/etc/passwd", "nothing is fetched"),
        ("", "nothing is fetched"),
        (" data:image/png;base64,AAAA", "nothing is fetched"),
        ("data:text/plain;base64,AAAA", "only"),
        ("data:image/svg+xml;base64,AAAA", "only"),
        ("data:image/png,AAAA", "only"),
        ("data:image/png;base64,AA*A", "base64"),
        ("data:image/png;base64,AAA", "base64"),
        ("data:image/png;base64,ä", "base64"),
    ],
)
def test_only_what_a_request_carries_is_read(url: str, words: str) -> None:
    with pytest.raises(BadPicture, match=words):
        picture_of(url)


def test_a_data_url() -> None:
    assert picture_of(data_url(b"abc", "jpeg")) == b"abc"
    assert picture_of("DATA:image/PNG;base64," + base64.b64encode(b"x").decode()) == b"x"


# ── tokens ──


def words(text: str, special: bool) -> list[int]:
    return [ord(letter) + 1000 * special for letter in text]


def layout(picture: bytes) -> Layout:
    if picture == png(8, 8, 9):
        raise BadPicture("it cannot be decoded")
    return ((7,), 3, (8,), 2, (9,))


EYE = Eye(layout, b"k" * 32)
ONE, OTHER = png(8, 8, 1), png(8, 8, 2)
SHOWN = [Part("a", trusted=True), Part("", False, 0), Part("b", trusted=False), Part("", False, 1), Part("c", True)]


def read(*pictures: bytes, eye: Eye = EYE, beginning: tuple[int, ...] = ()) -> Prompt:
    return eye.read(SHOWN, pictures, words, beginning)


def test_what_stands_for_a_picture_is_its_own_and_lies_between_its_texts() -> None:
    prompt = read(ONE, OTHER)
    texts = [token for token in prompt.tokens if token >= 0]
    assert texts == [1097, 7, 8, 9, 98, 7, 8, 9, 1099]
    assert [(run.start, run.end, run.number, run.picture) for run in prompt.runs] == [
        (2, 5, 0, ONE),
        (6, 8, 1, ONE),
        (11, 14, 0, OTHER),
        (15, 17, 1, OTHER),
    ]
    seen = [token for token in prompt.tokens if token < 0]
    assert len(set(seen)) == len(seen) == 10


def test_equal_pictures_are_equal_and_others_are_not_and_nobody_can_tell_the_names() -> None:
    same = read(ONE, ONE)
    assert same.tokens[1:9] == same.tokens[10:18]
    assert read(ONE, OTHER).tokens[:10] == same.tokens[:10]
    assert not set(read(OTHER, OTHER).tokens) & {token for token in same.tokens if token < 0}
    other_key = read(ONE, ONE, eye=Eye(layout, b"q" * 32))
    assert not {token for token in other_key.tokens if token < 0} & set(same.tokens)


def test_the_beginning_stands_once_and_moves_the_pictures() -> None:
    prompt = read(ONE, OTHER, beginning=(5, 6))
    assert prompt.tokens[:3] == (5, 6, 1097)
    assert prompt.runs[0].start == 4
    assert prompt.tokens[4] < 0
    assert read(ONE, OTHER, beginning=(1097,)).tokens == read(ONE, OTHER).tokens
    first = EYE.read([*SHOWN[1:]], [ONE, OTHER], words, (5,))
    assert (first.tokens[:2], first.runs[0].start) == ((5, 7), 2)


def test_the_picture_that_cannot_be_read_is_named() -> None:
    for bad in (b"nonsense", png(8, 8, 9)):
        with pytest.raises(Unreadable) as found:
            read(ONE, bad)
        assert found.value.number == 1
    large = b"\xff\xd8" + frame(4096, 4096)
    parts = [Part("", False, number) for number in range(5)]
    with pytest.raises(Unreadable, match="in all") as found:
        EYE.read(parts, [large] * 5, words)
    assert found.value.number == 4
    with pytest.raises(Unreadable, match="ends with it"):
        Eye(lambda _: (3,), b"k").read(SHOWN[:2], [ONE], words)


def test_a_picture_stands_where_the_template_puts_it_and_no_text_can_pretend_to_be_one() -> None:
    template = ChatTemplate("{% for m in messages %}<{{ m.content }}>{% endfor %}", ["<s>"])
    mark = template.picture(0)
    parts = template.render([{"content": f"a{mark}b<s>"}, {"content": mark[:10] + "0;"}])
    assert [part.picture for part in parts] == [None, 0, None, None, None]
    assert "".join(part.text for part in parts) == f"<ab<s>><{mark[:10]}0;>"
    assert ChatTemplate("", []).picture(0) != mark


def test_a_template_that_reads_parts_only_gets_parts_and_drops_nothing() -> None:
    source = (
        "{% for m in messages %}{{ m.role }}:{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}"
        "{% endif %}{% endfor %};{% endfor %}"
    )
    template = ChatTemplate(source, ["<s>"])
    parts = template.render(
        [{"role": "user", "content": f"see {template.picture(0)} <s>"}, {"role": "x", "content": ""}]
    )
    assert "".join(part.text for part in parts) == "user:see  <s>;x:;"
    assert [part.picture for part in parts if part.picture is not None] == [0]
    assert [part.text for part in parts if not part.trusted and part.text] == ["<s>"]
    plain = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}", []).render([{"content": "as it is"}])
    assert plain == [Part("as it is", trusted=True)]


# ── the projector's file and memory ──


def test_a_projector_is_told_by_its_header(tmp_path: Path) -> None:
    path = tiny_projector(tmp_path / "eyes.gguf", 2)
    header = read_projector(path)
    model = Header(3, 1, {"general.architecture": "llama"}, 100 << 20)
    with_it, without = memory.need(model, 0, 0, header), memory.need(model, 0)
    assert with_it.total - without.total == header.size + memory.LOOKING
    assert "to read pictures" in with_it.explain()
    assert "pictures" not in without.explain()
    for facts, told in (({"general.architecture": "llama"}, "'llama'"), ({"general.architecture": "clip"}, "vision")):
        path.write_bytes(gguf(facts, {}))
        with pytest.raises(BadModelFile, match=told):
            read_projector(path)
