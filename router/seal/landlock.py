"""File rules by Landlock (landlock(7)): a process reads, lists, runs and writes what its room names, nothing else.

The kernel says which version of the interface it has; rights that it does not know yet are left out, and said.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from router.seal.machine import call

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE = 1 << 4, 1 << 5
MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_SYM = 1 << 7, 1 << 8, 1 << 9, 1 << 10, 1 << 12
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
FIRST_RIGHTS: Final = (1 << 13) - 1  # all of version 1
LATER_RIGHTS: Final = {2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
BIND_TCP, CONNECT_TCP = 1, 2  # version 4
NET_VERSION: Final = 4
ABSTRACT_UNIX, SIGNAL = 1, 2  # version 6
SCOPE_VERSION: Final = 6

READ: Final = READ_FILE | READ_DIR
WRITE: Final = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
OWN: Final = WRITE | EXECUTE | MAKE_SOCK | MAKE_FIFO | MAKE_SYM
DEVICE: Final = READ | WRITE_FILE | IOCTL_DEV
FOR_FILES: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # what makes sense for one file

_CREATE_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_NET_PORT: Final = 2


class Room(NamedTuple):
    """The files of a process: absolute paths of files, or of directories with all that is in them.

    `tcp`: may bind and connect TCP (a port rule would be the policy's, and a gate outlives a reload); `bind`: without
    it, the ports that it may listen on all the same.
    """

    read: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()  # the names in it, not the contents: what Python's importer asks for
    execute: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    own: tuple[str, ...] = ()  # to do in it whatever one does in a home: links, sockets, programs too
    devices: tuple[str, ...] = ()
    tcp: bool = False
    bind: tuple[int, ...] = ()


class Rule(NamedTuple):
    path: str
    rights: int


def version() -> int:
    """Of the kernel's Landlock; 0 when it is not built in, switched off, or hidden by a container's own filter."""
    try:
        return call("landlock_create_ruleset", None, 0, _CREATE_VERSION)
    except OSError:
        return 0


def handled(abi: int) -> tuple[int, int, int]:
    """What this version can forbid: file rights, TCP rights, scopes."""
    files = FIRST_RIGHTS
    for since, right in LATER_RIGHTS.items():
        files |= right if abi >= since else 0
    return files, BIND_TCP | CONNECT_TCP if abi >= NET_VERSION else 0, 3 if abi >= SCOPE_VERSION else 0


def lacking(abi: int) -> tuple[str, ...]:
    """What an older version leaves open, in words."""
    gaps = (
        (3, "files may be cut to length 0 where they can be opened"),
        (NET_VERSION, "TCP is left to seccomp alone"),
        (5, "ioctl on devices is left to seccomp alone"),
        (SCOPE_VERSION, "signals and abstract UNIX sockets are left to seccomp alone"),
    )
    return tuple(f"landlock {abi}: {gap}" for since, gap in gaps if abi < since)


def rules(room: Room) -> list[Rule]:
    wanted = (
        *((room.read, READ), (room.listed, READ_DIR), (room.execute, READ | EXECUTE), (room.write, WRITE)),
        *((room.own, OWN), (room.devices, DEVICE)),
    )
    return [Rule(path, rights) for paths, rights in wanted for path in paths]


def restrict(room: Room, abi: int) -> None:
    """Put the room's walls in force for this thread and all that it starts. OSError when the kernel refuses."""
    files, tcp, scopes = handled(abi)
    attribute = struct.pack("=QQQ", files, 0 if room.tcp else tcp, scopes)
    size = 24 if abi >= SCOPE_VERSION else 16 if abi >= NET_VERSION else 8
    ruleset = call("landlock_create_ruleset", attribute, size, 0)
    try:
        for rule in rules(room):
            _add(ruleset, rule, files)
        for port in room.bind if tcp and not room.tcp else ():
            call("landlock_add_rule", ruleset, _NET_PORT, struct.pack("=QQ", BIND_TCP, port), 0)
        call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _add(ruleset: int, rule: Rule, known: int) -> None:
    """What does not exist needs no rule."""
    try:
        descriptor = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.EACCES}:
            return
        raise
    try:
        rights = rule.rights & known
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= FOR_FILES
        if rights:
            beneath = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor))
            call("landlock_add_rule", ruleset, _PATH_BENEATH, beneath, 0)
    finally:
        os.close(descriptor)


def joined(*rooms: Room) -> Room:
    """All that any of them allows."""

    def together(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for group in paths for path in group))

    return Room(
        read=together([room.read for room in rooms]),
        listed=together([room.listed for room in rooms]),
        execute=together([room.execute for room in rooms]),
        write=together([room.write for room in rooms]),
        own=together([room.own for room in rooms]),
        devices=together([room.devices for room in rooms]),
        tcp=any(room.tcp for room in rooms),
    )
