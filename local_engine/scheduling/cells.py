"""The books of the key-value cache: which tokens every slot holds, and how many cells that takes.

The context is unified: one pool of cells, any of which may belong to several slots (a shared prefix is stored
once). Cells are numbered here only to count the shared ones once; llama.cpp places them as it likes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import count

from local_engine.scheduling.prefix import common_prefix


@dataclass(slots=True, eq=False)
class Slot:
    """One sequence id of the context and the tokens whose cells it holds."""

    index: int
    scope: str = ""
    tokens: list[int] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)
    owner: int | None = None
    used: int = 0


class Cells:
    """The one owner of slot contents. Every change here is mirrored by an edit or a decode of the context."""

    def __init__(self, slots: int, capacity: int) -> None:
        self.slots = [Slot(index) for index in range(slots)]
        self.capacity = capacity
        self._holders: Counter[int] = Counter()
        self._numbers = count()

    @property
    def free(self) -> int:
        return self.capacity - len(self._holders)

    def append(self, index: int, tokens: tuple[int, ...]) -> None:
        slot = self.slots[index]
        fresh = [next(self._numbers) for _ in tokens]
        slot.tokens.extend(tokens)
        slot.cells.extend(fresh)
        self._holders.update(fresh)

    def trim(self, index: int, length: int) -> None:
        slot = self.slots[index]
        for cell in slot.cells[length:]:
            self._holders[cell] -= 1
            if not self._holders[cell]:
                del self._holders[cell]
        del slot.cells[length:], slot.tokens[length:]

    def copy(self, source: int, target: int, length: int) -> None:
        """The target must be empty: llama.cpp would keep its old cells beside the new ones."""
        donor, heir = self.slots[source], self.slots[target]
        heir.tokens, heir.cells = donor.tokens[:length], donor.cells[:length]
        self._holders.update(heir.cells)

    def idle(self) -> list[Slot]:
        """Slots that nobody generates in, the least recently used first, empty ones before all."""
        return sorted((s for s in self.slots if s.owner is None), key=lambda s: (bool(s.tokens), s.used, s.index))

    def cached(self) -> list[Slot]:
        """Slots that nobody generates in, but that hold a prefix; the least recently used first."""
        return sorted((s for s in self.slots if s.owner is None and s.tokens), key=lambda s: (s.used, s.index))

    def reclaimable(self, keep: Slot | None = None) -> int:
        """Cells that would be free if every idle slot but `keep` were emptied."""
        held: Counter[int] = Counter()
        for slot in self.slots:
            if slot.owner is None and slot is not keep:
                held.update(slot.cells)
        return self.free + sum(1 for cell, holders in held.items() if self._holders[cell] == holders)

    def best_donor(self, scope: str, tokens: list[int]) -> tuple[Slot | None, int]:
        """The slot of this scope with the longest common prefix; the last token is always decoded anew."""
        best: Slot | None = None
        length = 0
        wanted = tokens[:-1]
        for slot in self.slots:
            if slot.scope == scope and (found := common_prefix(slot.tokens, wanted)) > length:
                best, length = slot, found
        return best, length
