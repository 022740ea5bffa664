"""The values that the scheduler hands to whoever owns the model."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Sequence:
    """One generation as the scheduler sees it.

    `tokens` is the prompt followed by what was sampled; `cached` of them have their cells in the cache. `guesses` are
    decoded together with the last token, and forgotten where sampling finds otherwise.
    """

    key: int
    scope: str
    tokens: list[int]
    prompt: int = field(default=0)
    slot: int = -1
    cached: int = 0
    reused: int = 0
    guesses: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.prompt = self.prompt or len(self.tokens)

    @property
    def missing(self) -> int:
        """Tokens that must still be decoded before the next one can be sampled; 1 while generating."""
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


Edit = Copy | Trim


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
    """Edits of the cache in order, then one decode of all spans, which are sorted by slot."""

    edits: tuple[Edit, ...]
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the context was made for. `batch` bounds one decode; `chunk` bounds prefill while others are there."""

    slots: int
    cells: int
    batch: int = 256
    chunk: int = 128
    queue: int = 64
