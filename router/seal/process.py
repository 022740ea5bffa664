"""What a process gives up about itself, and what it must not hold when it is sealed."""

from __future__ import annotations

import os
import resource
import socket
import stat
import struct
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from router.seal.machine import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_CAPBSET_READ,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    call,
    prctl,
)

CAP_DAC_OVERRIDE: Final = 1  # read and write files whatever their owner and mode
LAST_CAPABILITY: Final = 63
_VERSION_3: Final = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two words for each set
_STANDARD: Final = range(3)


class UnexpectedlyHeld(Exception):
    """The process holds what could carry data past the seal; the message names it. It must not go on."""


def shut_memory() -> None:
    """No core dump, and nobody of the same user may read this process's memory or take its descriptors (ptrace(2),
    pidfd_getfd(2), /proc/PID/mem). execve(2) opens the memory again.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prctl(PR_SET_DUMPABLE, 0)


def gain_nothing() -> None:
    """No privilege is ever gained again, not by a set-user-id program either."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities(keep: Collection[int] = ()) -> None:
    """Root's powers, in every set, but those of `keep`. The bounding set goes first: it takes a capability to."""
    for capability in range(LAST_CAPABILITY + 1):
        if capability not in keep:
            with suppress(OSError):  # an ordinary user may not, and needs not: see gain_nothing
                if prctl(PR_CAPBSET_READ, capability):
                    prctl(PR_CAPBSET_DROP, capability)
    with suppress(OSError):  # before Linux 4.3 there was no such set
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    kept = sum(1 << capability for capability in keep) & effective_capabilities()
    low, high = kept & 0xFFFFFFFF, kept >> 32
    call("capset", struct.pack("=Ii", _VERSION_3, 0), struct.pack("=6I", low, low, 0, high, high, 0))


def effective_capabilities() -> int:
    """As a set of bits, from /proc/self/status."""
    return int(_status("CapEff"), 16)


def threads() -> int:
    return int(_status("Threads"))


def _status(field: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    raise OSError(f"/proc/self/status has no {field}")


def environment_names() -> tuple[str, ...]:
    """Of the variables that this process was started with."""
    entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    return tuple(sorted(entry.partition(b"=")[0].decode("ascii", "replace") for entry in entries if entry))


def check_descriptors(announced: Collection[int]) -> None:
    """UnexpectedlyHeld for any io_uring, and for any socket that is neither announced nor an anonymous pair."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names only, and the last one is gone by then
        descriptor = int(name)
        with suppress(FileNotFoundError):
            target = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            if "io_uring" in target:
                raise UnexpectedlyHeld(f"descriptor {descriptor} is an io_uring: the kernel acts for its owner unseen")
            if descriptor not in announced and stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                _check_socket(descriptor)


def _check_socket(descriptor: int) -> None:
    """An event loop wakes itself by anonymous pairs. Standard streams may be pipes into a journal or a supervisor."""
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        local = sock.family == socket.AF_UNIX
        if local and (descriptor in _STANDARD or not (sock.getsockname() or _peer(sock))):
            return
        family = getattr(sock.family, "name", str(sock.family))
    raise UnexpectedlyHeld(f"descriptor {descriptor} is a socket ({family}) that nobody announced")


def _peer(sock: socket.socket) -> object:
    """The peer's name; a socket without a peer is one that could still get one."""
    try:
        return sock.getpeername()
    except OSError:
        return "none"
