"""What the server asks of the engine thread, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from local_engine.library import Choice
from local_engine.pictures.prompt import Eye, Run
from local_engine.text.template import ChatTemplate


class Unloaded(Exception):
    """The model was unloaded, or broke, while a request for it was being read."""


FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. `seed` is always set; `logit_bias` is (token, bias)."""

    seed: int
    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    grammar: str | None = None


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token that was or might have been chosen, with its natural-log probability before any sampling option."""

    token: int
    piece: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """One generated token with its best rivals, the most probable first."""

    score: TokenScore
    rivals: tuple[TokenScore, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that is certain: whole characters, and no part of a stop string."""

    text: str
    scores: tuple[Chosen, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    reason: FinishReason
    usage: Usage


@dataclass(frozen=True, slots=True)
class Failed:
    """The generation ended without an answer; `code` is stable, `message` is for the reader."""

    code: str
    message: str


Event = Piece | Finished | Failed


@dataclass(frozen=True, slots=True)
class Job:
    """One generation. `logprobs` is the number of rivals wanted per token, None for no log-probabilities. `runs`: where
    pictures stand in the prompt.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling
    stops: tuple[str, ...] = ()
    logprobs: int | None = None
    scope: str = ""
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A job in the engine's care. `deliver` is called on the server's loop with each event, in order."""

    number: int
    job: Job
    deliver: Callable[[Event], None]


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingTicket:
    """Token lists to embed; `deliver` gets one normalised vector for each, or what failed."""

    inputs: tuple[tuple[int, ...], ...]
    deliver: Callable[[list[list[float]] | Failed], None]


@dataclass(frozen=True, slots=True)
class Cancel:
    ticket: Ticket | EmbeddingTicket


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish nothing more; whoever still waits is told that the engine stopped."""


Message = Ticket | EmbeddingTicket | Cancel | Stop
Delivery = tuple[Callable[[Any], None], Any]


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What the engine does at this moment; `threads` is what a decode may use while others want the cores too."""

    running: int
    waiting: int
    threads: int


def _no_grammar(_schema: object) -> str:
    raise ValueError("this model writes nothing")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What requests need to know of a loaded model; nothing native in it.

    `context` is the most tokens one request may use, `width` the length of an embedding. `tokenise` takes a text and
    whether control tokens are read in it; `grammar` translates a checked JSON schema, raising ValueError. A model that
    ranks, and writes nothing, has a `rank_limit` (tokens of a question with its text) and makes these with `pair`.
    `eye` reads pictures, where the model does.
    """

    description: str
    fingerprint: str
    context: int
    width: int
    vocabulary_size: int
    beginning: tuple[int, ...]
    choice: Choice
    tokenise: Callable[[str, bool], list[int]]
    piece: Callable[[int], bytes]
    embed_limit: int = 0
    template: ChatTemplate | None = None
    grammar: Callable[[object], str] = _no_grammar
    occupancy: Callable[[], Occupancy] = lambda: Occupancy(0, 0, 0)
    rank_limit: int = 0
    pair: Callable[[str, str], tuple[int, ...]] | None = None
    eye: Eye | None = None
