"""The words of an answer, whatever pieces it comes in."""

from __future__ import annotations

import hmac
import json

import pytest

from router.gate import answer_text
from router.gate.answer_text import AnswerText
from router.gate.capturing import AnswerTap
from router.gate.connection import UpstreamFault
from tests.router.house import told

KEY = b"k" * 32


def mac(*pieces: bytes) -> str:
    text = AnswerText(hmac.new(KEY, digestmod="sha256"))
    for piece in pieces:
        text.feed(piece)
    return text.mac()


def digest(text: str) -> str:
    return hmac.digest(KEY, text.encode(), "sha256").hex()


def event(document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def chunk(text: str | None, index: int = 0) -> bytes:
    return event({"choices": [{"index": index, "delta": {"content": text}}]})


WHOLE = json.dumps({"choices": [{"message": {"content": "one two"}}, {"message": {"content": "other"}}]}).encode()
CASES: dict[str, tuple[list[bytes], str | None]] = {
    "a stream": ([chunk("one ") + b": still here\n\n", b"", chunk("two") + b"data: [DONE]\n\n"], "one two"),
    "a document in pieces": ([WHOLE[:9], WHOLE[9:]], "one two"),
    "a completion": ([b'{"choices":[{"text":"one two"}]}'], "one two"),
    "a streamed completion": (
        [event({"choices": [{"text": "one "}]}), event({"choices": [{"text": "two"}]})],
        "one two",
    ),
    "no words": ([chunk(None), event({"choices": []}), event({"choices": [{"delta": {"content": 5}}]})], None),
    "an error": ([b'{"error": {"message": "no"}}'], None),
    "embeddings": ([b'{"data": [{"embedding": [0.5]}]}'], None),
    "no JSON": ([b"<html>", b"{"], None),
    "a list": ([event([1]), event({"choices": ["x"]}), event({"choices": 5})], None),
    "nothing": ([], None),
}


@pytest.mark.parametrize("name", CASES)
def test_the_digest_is_of_the_words_as_a_client_joins_them(name: str) -> None:
    pieces, words = CASES[name]
    assert mac(*pieces) == (digest(words) if words is not None else "")


def test_a_document_too_large_has_no_digest_and_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_text, "LARGEST", 20)
    text = AnswerText(hmac.new(KEY, digestmod="sha256"))
    for at in range(0, len(WHOLE), 10):
        text.feed(WHOLE[at : at + 10])
    assert len(text._document) < 40
    assert text.mac() == ""


class FakeCapture:
    """What a tap does with its file."""

    name = ""

    def __init__(self) -> None:
        self.done: list[str] = []

    def add(self, data: bytes) -> bool:
        return len(data) > 3

    def seal(self) -> None:
        self.done.append("seal")

    def finish(self) -> str:
        self.done.append("finish")
        return ""


async def test_nothing_passes_after_the_end() -> None:
    capture = FakeCapture()
    tap = AnswerTap(capture, hmac.new(KEY, digestmod="sha256"))  # type: ignore[arg-type]  # a capture without a disk
    await tap.take(b"abc")
    await tap.take(b"abcd")
    await tap.finish()
    await tap.finish()
    await tap.take(b"")
    with pytest.raises(UpstreamFault, match="bytes after the end"):
        await tap.take(b"more")
    assert capture.done == ["seal", "finish"]
    assert told(tap) == {}
