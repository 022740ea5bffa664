"""Cached prefixes kept over a restart: saved when the engine ends in order, taken back when it has loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from local_engine.prefix_file import NONCE, Prefix, Unusable, read, write
from local_engine.scheduling.cells import Slot
from local_engine.scheduling.scheduler import Scheduler
from local_engine.scheduling.step import State
from local_engine.scheduling.swapped import Swapped

WORTH_SAVING = 64
"""Tokens; a shorter prefix is read again as fast as it is taken from the disk."""

log = logging.getLogger("local_engine")


class States(Protocol):
    """See local_engine.native.context.Context."""

    copies: dict[int, State]

    def save(self, slot: int, most: int) -> State: ...
    def restore(self, slot: int, state: State) -> bool: ...


@dataclass(frozen=True, slots=True)
class Keeper:
    """`identity`: 32 bytes that differ with model, template and version; `most`: bytes of the file."""

    path: Path
    key: bytes
    identity: bytes
    most: int

    def restore(self, scheduler: Scheduler, states: States) -> None:
        """What cannot be taken is left, with one line in the log; what could be is there."""
        if not self.path.exists():
            return
        taken = 0
        try:
            for prefix in read(self.path, self.key, self.identity, self.most):
                if not self._take(prefix, scheduler, states):
                    break
                taken += 1
        except (Unusable, OSError) as error:
            log.warning("saved prefixes are ignored: %s: %s", self.path.name, error)
        log.info("saved prefixes taken back: %d", taken)

    def _take(self, prefix: Prefix, scheduler: Scheduler, states: States) -> bool:
        """False when there is no room for another one."""
        slot = scheduler.adopt(prefix.scope, prefix.tokens)
        if slot is None:
            return False
        if not states.restore(slot, prefix.state):
            scheduler.disown(slot)
            raise Unusable("llama.cpp does not take it")
        return True

    def save(self, scheduler: Scheduler, states: States) -> None:
        try:
            count = write(self.path, self.key, self.identity, self._prefixes(scheduler, states))
        except OSError as error:
            log.warning("prefixes are not saved: %s: %s", self.path, error.strerror)
        else:
            log.info("prefixes saved: %d", count)

    def _prefixes(self, scheduler: Scheduler, states: States) -> Iterator[Prefix]:
        """The last used first, as many as fit."""
        left = self.most
        holders: list[Slot | Swapped] = [*scheduler.cells.slots, *scheduler.swapped]
        for holder in sorted(holders, key=lambda holder: -holder.used):
            if len(holder.tokens) < WORTH_SAVING or min(holder.tokens) < 0:
                continue  # a picture's name is this process's own: nobody could ask for it after a restart
            overhead = 4 * len(holder.tokens) + len(holder.scope.encode()) + 4 * NONCE
            if state := _state(holder, states, left - overhead):
                left -= len(state) + overhead
                yield Prefix(holder.scope, tuple(holder.tokens), state)


def _state(holder: Slot | Swapped, states: States, most: int) -> bytes:
    """Empty when it has more bytes than that."""
    if isinstance(holder, Slot):
        return bytes(states.save(holder.index, most))
    state = states.copies[holder.number]
    return bytes(state) if len(state) <= most else b""
