"""A prompt with pictures as tokens: what stands for a picture is named after its content, by a key of this process.

Two prompts share a cached prefix where their tokens are equal. A picture's tokens are numbers that only this very
picture has, and that nobody outside can compute: so equal pictures are shared, and no others, as texts are. They are
negative: a vocabulary's are not.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from local_engine.pictures.bounds import BadPicture, check
from local_engine.text.template import Part, prompt_tokens

MOST_TOKENS = 1 << 20
MOST_PIECES = 1 << 12
MOST_TOGETHER = 1 << 26
"""Pixels of one request: all who send texts wait in one line while pictures are decoded."""
Layout = tuple[tuple[int, ...] | int, ...]
"""What stands for one picture: runs of text tokens, and between them how many tokens each of its pieces has."""


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of a picture in a prompt: tokens `start` up to `end`. `number`: which of the picture's pieces it is."""

    start: int
    end: int
    picture: bytes
    number: int


@dataclass(frozen=True, slots=True)
class Prompt:
    tokens: tuple[int, ...]
    runs: tuple[Run, ...] = ()


class Unreadable(ValueError):
    """The picture of this number cannot be read."""

    def __init__(self, number: int, why: BadPicture) -> None:
        super().__init__(f"picture {number}: {why}")
        self.number, self.why = number, why


@dataclass(frozen=True, slots=True)
class Eye:
    """`layout` decodes a picture to see that it can be read, and how much it takes; BadPicture where it cannot."""

    layout: Callable[[bytes], Layout]
    key: bytes

    def read(
        self,
        parts: Sequence[Part],
        pictures: Sequence[bytes],
        tokenise: Callable[[str, bool], list[int]],
        beginning: tuple[int, ...] = (),
    ) -> Prompt:
        """`beginning`: tokens that stand before all, unless the template has written them. Raises Unreadable."""
        _check_all(pictures)
        tokens: list[int] = []
        runs: list[Run] = []
        for part in parts:
            if part.picture is None:
                tokens += prompt_tokens([part], tokenise)
            else:
                self._place(part.picture, pictures[part.picture], tokens, runs)
        if tuple(tokens[: len(beginning)]) != beginning:
            tokens[:0] = beginning
            runs = [replace(run, start=run.start + len(beginning), end=run.end + len(beginning)) for run in runs]
        if tokens and tokens[-1] < 0:
            why = BadPicture("the model's chat template ends with it, and leaves no room for an answer")
            raise Unreadable(len(pictures) - 1, why)
        return Prompt(tuple(tokens), tuple(runs))

    def _place(self, number: int, picture: bytes, tokens: list[int], runs: list[Run]) -> None:
        try:
            layout = self.layout(picture)
        except BadPicture as why:
            raise Unreadable(number, why) from None
        name, piece = int.from_bytes(hmac.digest(self.key, picture, "sha256")[:16]) * MOST_PIECES, 0
        for one in layout:
            if not isinstance(one, int):
                tokens += one
                continue
            first = (name + piece) * MOST_TOKENS + 1
            runs.append(Run(len(tokens), len(tokens) + one, picture, piece))
            tokens += range(-first, -first - one, -1)
            piece += 1


def _check_all(pictures: Sequence[bytes]) -> None:
    """Before the first is decoded. Raises Unreadable."""
    pixels = 0
    for number, picture in enumerate(pictures):
        try:
            width, height = check(picture)
        except BadPicture as why:
            raise Unreadable(number, why) from None
        pixels += width * height
        if pixels > MOST_TOGETHER:
            raise Unreadable(number, BadPicture(f"the request has more than {MOST_TOGETHER} pixels in all"))
