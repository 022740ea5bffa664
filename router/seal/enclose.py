"""The order of sealing. Every step holds for good, and each is taken while the next one is still allowed."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

from router.seal import attack, landlock, namespace, process
from router.seal.attestation import Attempt, Attestation, Part, path_files
from router.seal.filter import assemble, install
from router.seal.machine import Machine, UnknownMachine, this_machine
from router.seal.process import UnexpectedlyHeld
from router.seal.profiles import STAGE_0, Profile, rules_of

UNREADABLE: Final = "/etc/passwd"  # exists everywhere, holds no secret, and is in nobody's room
UNWRITABLE: Final = str(Path(os.__file__))


class Plan(NamedTuple):
    """`announced`: the sockets it is right to hold, as descriptors. `keep`: capabilities, by number."""

    profile: Profile
    room: landlock.Room
    announced: Collection[int] = ()
    keep: Collection[int] = ()
    granted: Collection[str] = ()  # attacks that its room allows on purpose, by name: they are not tried

    def in_own_network(self) -> Plan:
        """Of a program whose network holds nothing but itself: in there it may connect to whom it likes."""
        return self._replace(room=self.room._replace(tcp=True), granted=(*self.granted, *attack.INSIDE))


class _Progress:
    def __init__(self) -> None:
        self.installed: list[Part] = []
        self.notes: list[str] = []

    def took(self, part: Part, refusal: str) -> None:
        """Which part is in force now, or why it is not."""
        if refusal:
            self.notes.append(f"no {part}: {refusal}")
        else:
            self.installed.append(part)


def begin() -> None:
    """Stage 0: no io_uring. Before the first event loop, so that none holds a ring when stage 1 comes. What the
    machine refuses here it refuses `enclose` too, which says so.
    """
    try:
        machine = this_machine()
        install(assemble(STAGE_0, machine))
    except (OSError, UnknownMachine):
        return


def enclose(plan: Plan) -> Attestation:
    """Stage 1: seal this process for what it is, attack it, and tell. UnexpectedlyHeld: it must not go on.

    Call it before the first thread is started: capabilities and file rules hold for the calling thread alone.
    """
    process.check_descriptors(plan.announced)
    if (count := process.threads()) != 1:
        raise UnexpectedlyHeld(f"the process has {count} threads; it can be sealed only while it has one")
    progress = _Progress()
    abi = 0
    attempts: tuple[Attempt, ...] = ()
    environment = process.environment_names()  # once memory is shut, an ordinary user can't read its own
    try:
        machine = this_machine()
    except UnknownMachine as error:
        progress.notes.append(str(error))
        _shut(progress)
    else:
        abi = landlock.version()
        plan = plan.in_own_network() if _has_own_network(plan) else plan
        with attack.prey(UNREADABLE, UNWRITABLE) as targets:
            _seal(plan, machine, abi, progress)
            attempts = attack.attack_self(plan.profile, tuple(progress.installed), targets, plan.granted)
    return Attestation(
        profile=plan.profile,
        pid=os.getpid(),
        machine=platform.machine(),
        kernel=platform.release(),
        landlock=abi,
        installed=tuple(part for part in Part if part in progress.installed),
        attempts=attempts,
        notes=tuple(progress.notes),
        capabilities=process.effective_capabilities(),
        path_files=path_files(),
        environment=environment,
    )


def _seal(plan: Plan, machine: Machine, abi: int, progress: _Progress) -> None:
    if plan.profile is Profile.PROGRAM:  # its keeper has made its network, and is in it too
        progress.took(Part.NETNS, "" if plan.room.tcp else _shared_network(abi))
        progress.notes += _sockets_in_sight()
    elif plan.profile is not Profile.GATE:  # the gate is the way out
        progress.took(Part.NETNS, _attempt_network())
    _shut(progress)
    process.drop_capabilities(plan.keep)
    progress.took(Part.LANDLOCK, _attempt_landlock(plan.room, abi))
    if Part.LANDLOCK in progress.installed:
        progress.notes += landlock.lacking(abi)
    progress.took(Part.SECCOMP, _attempt_seccomp(plan, machine))


def _shut(progress: _Progress) -> None:
    try:
        process.shut_memory()
        process.gain_nothing()
    except OSError as error:
        progress.notes.append(f"memory is open to processes of the same user: {error.strerror}")


def _attempt_network() -> str:
    try:
        return namespace.leave_network()
    except OSError as error:
        return str(error.strerror)


def _has_own_network(plan: Plan) -> bool:
    return plan.profile is Profile.PROGRAM and not namespace.interfaces()


def _sockets_in_sight() -> list[str]:
    """Its keeper hides them, where it can."""
    if not Path("/run").is_dir() or not os.listdir("/run"):  # noqa: PTH208 - whether there is anything
        return []
    return ["UNIX sockets below /run (of Docker, D-Bus …) are in its sight: what its user may open there, it may"]


def _shared_network(abi: int) -> str:
    """What a program is left with that has the machine's network."""
    names = ", ".join(namespace.interfaces()[:4])
    if abi < landlock.NET_VERSION:
        return f"it shares this machine's network ({names}), and nothing keeps its TCP from any address"
    return (
        f"it shares this machine's network ({names}): it opens no connection there, but whoever can may connect to it"
    )


def _attempt_landlock(room: landlock.Room, abi: int) -> str:
    if not abi:
        return "this kernel has none, or it is switched off or hidden here"
    try:
        landlock.restrict(room, abi)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return ""


def _attempt_seccomp(plan: Plan, machine: Machine) -> str:
    rules = rules_of(plan.profile, os.getpid(), writes=bool(plan.room.write), datagrams=plan.room.tcp)
    try:
        install(assemble(rules, machine))
    except OSError as error:
        return str(error.strerror)
    return ""
