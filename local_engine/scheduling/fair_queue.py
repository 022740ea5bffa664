"""A bounded waiting line that serves scopes in turn, so that one caller's burst does not shut out another's request."""

from __future__ import annotations

from collections import OrderedDict, deque

from local_engine.scheduling.step import Sequence


class FairQueue:
    """Requests by scope, one from each in turn. Pre-empted ones come back before everyone else, oldest first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._returned: list[Sequence] = []
        self._lines: OrderedDict[str, deque[Sequence]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._returned) + sum(len(line) for line in self._lines.values())

    @property
    def full(self) -> bool:
        return len(self) >= self.capacity

    def push(self, sequence: Sequence) -> None:
        self._lines.setdefault(sequence.scope, deque()).append(sequence)

    def put_back(self, sequence: Sequence) -> None:
        self._returned.append(sequence)
        self._returned.sort(key=lambda waiting: waiting.key)

    def head(self) -> Sequence | None:
        if self._returned:
            return self._returned[0]
        return next(iter(self._lines.values()))[0] if self._lines else None

    def pop(self) -> Sequence:
        """Take the head; its scope goes to the end of the round."""
        if self._returned:
            return self._returned.pop(0)
        scope, line = next(iter(self._lines.items()))
        sequence = line.popleft()
        if line:
            self._lines.move_to_end(scope)
        else:
            del self._lines[scope]
        return sequence

    def remove(self, sequence: Sequence) -> None:
        if sequence in self._returned:
            self._returned.remove(sequence)
            return
        line = self._lines[sequence.scope]
        line.remove(sequence)
        if not line:
            del self._lines[sequence.scope]
