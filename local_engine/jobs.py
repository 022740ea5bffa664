"""What the server asks of the engine thread, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

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
    """One generation. `logprobs` is the number of rivals wanted per token, None for no log-probabilities."""

    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling
    stops: tuple[str, ...] = ()
    logprobs: int | None = None
    scope: str = ""


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
