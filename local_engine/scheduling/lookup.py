"""Guesses of what comes next, looked up in what was read and written so far; and how many of them are worth a decode.

A text that repeats its prompt (an edit of a page, a quotation) is guessed right for long runs. A decode of one token
and k guesses gives up to k+1 tokens and costs less than k+1 decodes; how much less depends on processor and model, so
it is measured while it runs. Guesses are checked by the model itself: they change the speed, never the text.
"""

from __future__ import annotations

MOST = 16
"""Guesses in one decode."""
RUN = 3
"""Tokens that must have occurred before for what followed them to be a guess."""
LEARN = 0.1
"""How much one guess changes the estimate of how often guesses are right."""
RECOVER = 0.002
"""By how much this estimate rises for each token that was not guessed, up to FIRST: so that a trial comes again."""
FIRST = 0.75
WORTH = 1.05
"""Tokens for the time of one that a decode with guesses must be expected to give."""


class Lookup:
    """The guesses of one sequence; it sees every token of it, in order."""

    def __init__(self) -> None:
        self._ends: dict[tuple[int, ...], int] = {}
        self._known = RUN
        self._source = 0
        self._length = 0
        self.right = FIRST

    def guess(self, tokens: list[int], most: int) -> tuple[int, ...]:
        """What followed the last RUN tokens where they stood before; what was copied from last goes on first."""
        self._learn(tokens)
        source, self._length = self._source + len(tokens) - self._length, len(tokens)
        tail = tokens[-RUN:]
        if self._source == 0 or tokens[source - RUN : source] != tail or source >= len(tokens):
            source = self._ends.get(tuple(tail), 0)
        self._source = source
        return tuple(tokens[source : source + most]) if source else ()

    def _learn(self, tokens: list[int]) -> None:
        """Where each run ends; the run at the very end has nothing after it yet."""
        for end in range(self._known, len(tokens)):
            self._ends[tuple(tokens[end - RUN : end])] = end
        self._known = max(self._known, len(tokens))

    def judge(self, guessed: int, right: int) -> None:
        """How many guesses of one decode came true."""
        for number in range(min(guessed, right + 1)):
            self.right += LEARN * ((number < right) - self.right)
        if not guessed:
            self.right = max(self.right, min(FIRST, self.right + RECOVER))


class Prices:
    """What one more token costs in a decode, in decodes of a single token. One for all sequences."""

    def __init__(self, more: float = 0.4) -> None:
        self.more = more
        self._single = 0.0

    def observe(self, tokens: int, seconds: float) -> None:
        if tokens == 1:
            self._single += LEARN * (seconds - self._single) if self._single else seconds
        elif self._single:
            found = (seconds / self._single - 1) / (tokens - 1)
            self.more += LEARN * (min(1.0, max(0.02, found)) - self.more)


def best_length(right: float, more: float, most: int) -> int:
    """How many guesses give the most tokens for their time; 0 when none give WORTH."""
    best, length, chain, tokens = WORTH, 0, 1.0, 1.0
    for guesses in range(1, most + 1):
        chain *= right
        tokens += chain
        value = tokens / (1 + more * guesses)
        if value > best:
            best, length = value, guesses
    return length


def worth_guessing(lookup: Lookup, prices: Prices, tokens: list[int], most: int) -> tuple[int, ...]:
    """The guesses for the next decode, none where they would not pay."""
    length = best_length(lookup.right, prices.more, min(most, MOST))
    return lookup.guess(tokens, length) if length else ()
