"""The values that the scheduler hands to whoever owns the model."""

from __future__ import annotations

from dataclasses import dataclass, field

State = bytes | bytearray
"""What a slot's cells hold, as llama.cpp writes it."""


@dataclass(slots=True, eq=False)
class Sequence:
    """One generation as the scheduler sees it.

    `tokens` is the prompt followed by what was sampled; `cached` of them have their cells in the cache. `guesses` are
    decoded together with the last token, and forgotten where sampling finds otherwise. `pictures`: where pieces of
    pictures stand in the prompt, from which token up to which, in order; they are decoded apart from text.
    """

    key: int
    scope: str
    tokens: list[int]
    prompt: int = field(default=0)
    slot: int = -1
    cached: int = 0
    reused: int = 0
    guesses: tuple[int, ...] = ()
    pictures: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        self.prompt = self.prompt or len(self.tokens)

    @property
    def missing(self) -> int:
        """Tokens that must still be decoded before the next one can be sampled; 1 while generating."""
        return len(self.tokens) - self.cached

    @property
    def looking(self) -> bool:
        """Whether the next token to decode is of a picture."""
        if not self.pictures:  # nearly all: asked of everyone at every step
            return False
        return any(start <= self.cached < end for start, end in self.pictures)

    @property
    def readable(self) -> int:
        """Tokens of one kind that come next: of text up to the next picture, or of the piece of a picture."""
        for bounds in self.pictures:
            for bound in bounds:
                if bound > self.cached:
                    return bound - self.cached
        return len(self.tokens) - self.cached


@dataclass(frozen=True, slots=True)
class Copy:
    """Let `target` share the first `length` cells of `source`. The target is empty."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class Trim:
    """Keep the first `length` cells of a slot and free the others."""

    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class SwapOut:
    """Copy the state of a slot's cells to ordinary memory, under this number; the slot keeps them."""

    slot: int
    number: int


@dataclass(frozen=True, slots=True)
class SwapIn:
    """Put the cells of this copy into a slot, which is empty. The copy stays."""

    slot: int
    number: int


@dataclass(frozen=True, slots=True)
class Discard:
    """Forget a copy."""

    number: int


Edit = Copy | Trim | SwapOut | SwapIn | Discard


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens of one slot to decode, from position `start`; `sample` when the last one yields a new token.

    The last `guesses` of them are guesses: the token before them yields a new one, too, and so does each of them.
    """

    slot: int
    start: int
    tokens: tuple[int, ...]
    sample: bool
    guesses: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """Edits of the cache in order, then one decode of all spans, which are sorted by slot.

    `look`: the one span is of a picture.
    """

    edits: tuple[Edit, ...]
    spans: tuple[Span, ...]
    look: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What the context was made for. `batch` bounds one decode; `chunk` bounds prefill while others are there; `swap`
    bounds the tokens whose state is kept outside the cache.

    `whole`: a piece of a picture must be decoded at once; it has at most `batch` tokens then.
    """

    slots: int
    cells: int
    batch: int = 256
    chunk: int = 128
    queue: int = 64
    whole: bool = False
    swap: int = 0
