"""Requests for managed programs wait here until theirs runs and answers; the supervisor hears how many wait.

A door is open from when its program was found ready until the supervisor says that it is to finish. From then on
nothing enters, and the answer to the supervisor says what is still under way: so nothing is stopped that works.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from msgspec import Struct, field

from router.channel.messages import Cause
from router.channel.programs import Demand, Demands, Programs, ProgramState
from router.gate.connection import UpstreamFault

RUNNING: Final = "running"
FAILED: Final = "failed"
STOPPED: Final = ProgramState("stopped", "not loaded")
TOLD_WITHIN_S: Final = 0.05
POKED_S: Final = 30.0  # so long counts somebody who could not wait
COME_BACK_S: Final = 5.0


class Door(Struct):
    """One program's. `Doors` owns it."""

    group: str = ""
    listed: bool = False  # in the settings in force; one that was taken off them still tells what is under way
    state: ProgramState = STOPPED
    opened: bool = False  # it was ready since it runs
    under_way: int = 0
    waiting: list[float] = field(default_factory=list)  # since when each waits (time.monotonic)
    poked_until: float = 0.0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def open(self) -> bool:
        return self.opened and self.state.phase == RUNNING

    def demand(self, now: float) -> Demand:
        poked = self.poked_until > now and not self.opened
        waiting = len(self.waiting) + poked
        return Demand(waiting, now - min(self.waiting, default=now), self.under_way, self.open)


class Doors:
    """One for each managed program; they outlive reloads."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._doors: dict[str, Door] = {}
        self._number = 0
        self._telling: asyncio.TimerHandle | None = None

    def settle(self, groups: dict[str, str]) -> None:
        """The managed programs of the settings in force, each with its group."""
        for name, door in self._doors.items():
            door.listed = name in groups
        for name, group in groups.items():
            door = self._doors.setdefault(name, Door())
            door.group, door.listed = group, True

    def get(self, name: str) -> Door | None:
        """None: nothing of ours runs there, and nobody need wait for it."""
        door = self._doors.get(name)
        return door if door is not None and door.listed else None

    def heard(self, text: str) -> dict[str, ProgramState]:
        """The supervisor tells of phases: those that are new. They are acted upon before it is answered."""
        programs = msgspec.json.decode(text, type=Programs)
        self._number = programs.number
        changed: dict[str, ProgramState] = {}
        for name, state in programs.states.items():
            door = self._doors.setdefault(name, Door())
            if door.state != state:
                door.opened = door.opened and door.state.phase == state.phase
                door.state = state
                door.changed.set()
                changed[name] = state
        return changed

    def states(self) -> dict[str, ProgramState]:
        return {name: door.state for name, door in self._doors.items()}

    def found_ready(self, name: str) -> None:
        """The program answers: those who wait may enter."""
        door = self._doors.get(name)
        if door is not None and door.state.phase == RUNNING and not door.opened:
            door.opened, door.poked_until = True, 0.0
            door.changed.set()
            self.tell()

    def poke(self, name: str) -> None:
        """Somebody would like it, and cannot wait. Not while another holds what only one can have."""
        door = self._doors[name]
        others = (other for other in self._doors.values() if other is not door and other.group == door.group)
        if not door.group or not any(other.open for other in others):
            self._want(door)

    @contextmanager
    def inside(self, door: Door) -> Iterator[None]:
        """One request, from when it has entered until it is over."""
        door.under_way += 1
        self._tell_soon()
        try:
            yield
        finally:
            door.under_way -= 1
            self._tell_soon()

    async def enter(self, door: Door, wait_s: float) -> None:
        """Returns when the program answers. UpstreamFault when it cannot be had within the time, or has failed."""
        if door.open:
            return
        if wait_s <= 0 or door.state.phase == FAILED:
            self._want(door)
            raise _not_there(door)
        since = time.monotonic()
        door.waiting.append(since)
        self.tell()
        try:
            async with asyncio.timeout(wait_s):
                await self._opened(door)
        except TimeoutError:
            raise _not_there(door) from None
        finally:
            door.waiting.remove(since)
            self._tell_soon()

    async def _opened(self, door: Door) -> None:
        while not door.open:
            if door.state.phase == FAILED:
                raise _not_there(door)
            door.changed.clear()
            await door.changed.wait()

    def _want(self, door: Door) -> None:
        door.poked_until = time.monotonic() + POKED_S
        self.tell()

    def tell(self) -> None:
        """Now: what is asked for, and which telling of the supervisor's we have acted upon."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        if self._doors:
            now = time.monotonic()
            demands = {name: door.demand(now) for name, door in self._doors.items()}
            self._tell(msgspec.json.encode(Demands(self._number, demands)).decode())

    def _tell_soon(self) -> None:
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TOLD_WITHIN_S, self.tell)


def _not_there(door: Door) -> UpstreamFault:
    state = door.state
    if state.phase == FAILED:
        return UpstreamFault(Cause.COLD, f"its program failed: {state.reason}", COME_BACK_S)
    return UpstreamFault(Cause.COLD, f"its program is {state.phase}", COME_BACK_S)
