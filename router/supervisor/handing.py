"""Settings on their way to the gate and the workers: which are in force, who was sent which."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from router.channel.control import Message, Word, memory_file
from router.logs import Log
from router.settings.codec import encode
from router.settings.snapshot import Snapshot
from router.supervisor.child import Child

GATE: Final = "gate"
AGAIN_S: Final = 0.5  # until descriptors or memory are there for a file of settings that could not be made


class CannotReload(Exception):
    """These settings cannot be swapped in; the message says why."""


class Handing:
    """The newest settings, and which each process was sent last."""

    def __init__(self, snapshot: Snapshot, log: Log) -> None:
        self.snapshot = snapshot
        self._actor = "start"
        self._log = log
        self._given: dict[str, Snapshot] = {}

    def has_newest(self, child: Child) -> bool:
        return self._given.get(child.program.name) is self.snapshot

    def swap(self, snapshot: Snapshot, actor: str, gate: Child) -> None:
        """New settings, to the gate first. CannotReload: the old ones are still the newest."""
        try:
            descriptor = _file(snapshot, gate)
        except OSError as error:
            raise CannotReload(f"the new settings cannot be handed on: {error.strerror}: try again") from None
        self.snapshot, self._actor = snapshot, actor
        self._send(gate, descriptor)

    def begin(self, child: Child) -> None:
        """It has just started, and has none."""
        self._given.pop(child.program.name, None)
        self.give(child)

    def give(self, child: Child) -> None:
        """Now, or as soon as it can be: until then whoever serves already does so by the settings that it has."""
        try:
            descriptor = _file(self.snapshot, child)
        except OSError as error:
            self._log("settings_not_sent", state=child.program.name, reason=error.strerror)
            asyncio.get_running_loop().call_later(AGAIN_S, self._give_again, child)
        else:
            self._send(child, descriptor)

    def _give_again(self, child: Child) -> None:
        if child.alive and not self.has_newest(child):
            self.give(child)

    def _send(self, child: Child, descriptor: int) -> None:
        self._given[child.program.name] = self.snapshot
        child.send(Message(Word.SETTINGS, name=self._actor), [descriptor])
        os.close(descriptor)


def _file(snapshot: Snapshot, child: Child) -> int:
    return memory_file(encode(snapshot.for_gate() if child.program.name == GATE else snapshot.for_workers()))
