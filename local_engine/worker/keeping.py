"""Cached prefixes kept over a restart: saved when the engine ends in order, taken back when it has loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from local_engine.prefix_file import NONCE, Prefix, Unusable, read, write
from local_engine.scheduling.scheduler import Scheduler

WORTH_SAVING = 64
"""Tokens; a shorter prefix is read again as fast as it is taken from the disk."""

log = logging.getLogger("local_engine")


class States(Protocol):
    """See local_engine.native.context.Context."""

    def save(self, slot: int, most: int) -> bytes: ...
    def restore(self, slot: int, state: bytes) -> bool: ...


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
        for slot in sorted(scheduler.cells.slots, key=lambda slot: -slot.used):
            if len(slot.tokens) < WORTH_SAVING or min(slot.tokens) < 0:
                continue  # a picture's name is this process's own: nobody could ask for it after a restart
            overhead = 4 * len(slot.tokens) + len(slot.scope.encode()) + 4 * NONCE
            if state := states.save(slot.index, left - overhead):
                left -= len(state) + overhead
                yield Prefix(slot.scope, tuple(slot.tokens), state)
