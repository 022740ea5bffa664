"""The books of the prefixes that were swapped out: copied from the cache to ordinary memory, their cells given up.

A decode looks at every cell up to the last one in use, whoever owns it: measured on two cores, three thousand cells
that nobody works on make each token a tenth dearer and a long prompt a sixth. So idle slots do not keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from local_engine.scheduling.prefix import common_prefix

WORTH_SWAPPING = 16
"""Tokens."""


@dataclass(frozen=True, slots=True)
class Swapped:
    """`number` names the copy; `used` is the scheduler's time of its last use."""

    number: int
    scope: str
    tokens: tuple[int, ...]
    used: int


class SwapSpace:
    """Room for `capacity` tokens. Whoever calls carries out what the books say: which copy is made, or discarded."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._held: dict[int, Swapped] = {}
        self._taken = 0
        self._numbers = count()

    def __iter__(self) -> Iterator[Swapped]:
        return iter(self._held.values())

    def takes(self, tokens: list[int]) -> bool:
        """Not what is read again as fast, nor pictures, whose places are not those of their tokens."""
        return WORTH_SWAPPING <= len(tokens) <= self.capacity - self._taken and min(tokens) >= 0

    def put(self, scope: str, tokens: tuple[int, ...], used: int) -> tuple[int, list[int]]:
        """The number of the new copy, and those that it makes superfluous or that must go for it, oldest first.

        `tokens` are no more than the capacity.
        """
        gone = [
            old.number for old in self if old.scope == scope and common_prefix(old.tokens, tokens) == len(old.tokens)
        ]
        for number in gone:
            del self._held[number]
        gone += self._make_room(len(tokens))
        new = Swapped(next(self._numbers), scope, tokens, used)
        self._held[new.number] = new
        return new.number, gone

    def take(self, number: int) -> None:
        """It is being swapped in: it must not go to make room meanwhile, and takes its own until `done`."""
        self._taken = len(self._held.pop(number).tokens)

    def done(self, kept: Swapped | None) -> None:
        """The copy that was taken is discarded, or kept."""
        self._taken = 0
        if kept:
            self._held[kept.number] = kept

    def _make_room(self, tokens: int) -> list[int]:
        """Give up the least recently used ones."""
        gone = []
        room = self.capacity - self._taken - tokens - sum(len(old.tokens) for old in self)
        for old in sorted(self, key=lambda old: old.used):
            if room >= 0:
                break
            room += len(old.tokens)
            gone.append(old.number)
            del self._held[old.number]
        return gone

    def best(self, scope: str, tokens: list[int]) -> tuple[Swapped | None, int]:
        """The copy of this scope with the longest common prefix; the last token is always decoded anew."""
        best: Swapped | None = None
        length, wanted = 0, tuple(tokens[:-1])
        for held in self:
            if held.scope == scope and (found := common_prefix(held.tokens, wanted)) > length:
                best, length = held, found
        return best, length
