"""A network of one's own, with nothing in it: sockets that are held go on working, new ones reach nobody."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import Final

from router.seal.machine import call

SIOCSIFFLAGS: Final = 0x8914
IFF_UP: Final = 1
CLONE_NEWNS: Final = 0x00020000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_SLAVE = 1, 2, 4, 8, 0x4000, 0x80000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000


def leave_network() -> str:
    """Move this process, which must have one thread, into an empty network. How it went: "" or why it could not."""
    try:
        call("unshare", CLONE_NEWNET)
    except OSError as error:
        if error.errno != errno.EPERM:
            return f"unshare: {error.strerror}"
    else:
        return ""
    return by_user_namespace(os.geteuid(), os.getegid())


def own_network() -> str:
    """The same, with a loopback of its own that is up: programs that talk to themselves by it go on doing so."""
    try:
        refusal = leave_network()
        if refusal:
            return refusal
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    except OSError as error:
        return f"no loopback of its own: {error.strerror}"
    return ""


def hide(place: str) -> str:
    """Put an empty directory before this process's eyes, and those of its children, where `place` was: file rules hold
    no UNIX socket, and below /run lie those of Docker, D-Bus and their like. After `own_network`. "" or why not.
    """
    try:
        call("unshare", CLONE_NEWNS)
        call("mount", b"none\0", b"/\0", None, MS_REC | MS_SLAVE, None)
        flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY
        call("mount", b"tmpfs\0", place.encode() + b"\0", b"tmpfs\0", flags, b"size=4k,mode=755\0")
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return ""


def by_user_namespace(user: int, group: int) -> str:
    """An ordinary user may where the machine allows user namespaces. User and group keep their numbers."""
    try:
        call("unshare", CLONE_NEWUSER | CLONE_NEWNET)
    except OSError as error:
        return f"CAP_SYS_ADMIN is missing, and user namespaces are refused: {error.strerror}"
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    return ""


def interfaces() -> tuple[str, ...]:
    """Of this process's network, from /proc/self/net/dev, but the loopback."""
    lines = Path("/proc/self/net/dev").read_text().splitlines()[2:]
    names = [line.partition(":")[0].strip() for line in lines]
    return tuple(name for name in names if name != "lo")
