"""What one sequence gets of a step: its next token with guesses, or a share of the budget for prompts."""

from __future__ import annotations

from local_engine.scheduling.step import Sequence, Span


def split_budget(reading: list[Sequence], budget: int) -> list[tuple[Sequence, int]]:
    """Split a token budget over the prompts being read; `reading` is sorted by age."""
    if not reading or budget <= 0:
        return []
    share = {reading[0].key: min(reading[0].readable, max(1, budget // 4))}
    left = budget - share[reading[0].key]
    for sequence in sorted(reading, key=lambda s: (s.missing, s.key)):
        already = share.get(sequence.key, 0)
        more = min(sequence.readable - already, left)
        share[sequence.key] = already + more
        left -= more
    return [(sequence, share[sequence.key]) for sequence in reading]


def next_span(sequence: Sequence, free: int) -> Span:
    """The token to go on from, with the guesses there is room for: nothing is given up for a guess."""
    guesses, sequence.guesses = sequence.guesses[: max(0, free - 1)], ()
    tokens = (sequence.tokens[-1], *guesses)
    return Span(sequence.slot, sequence.cached, tokens, sample=True, guesses=len(guesses))


def prompt_span(sequence: Sequence, size: int) -> Span:
    start = sequence.cached
    tokens = tuple(sequence.tokens[start : start + size])
    return Span(sequence.slot, start, tokens, sample=start + size == len(sequence.tokens))
