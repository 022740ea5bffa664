"""Between the supervisor and each of its children: short messages, some with a descriptor, over SOCK_SEQPACKET.

The supervisor is the children's parent and trusted by them; nothing of a client ever travels here. Settings travel
as a sealed memory file, channels as sockets. A child whose control socket closes has lost its supervisor and ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

LARGEST = 64 * 1024
MOST_DESCRIPTORS = 4


class Word(StrEnum):
    """What is said. The first block goes to a child, the second to the supervisor."""

    SETTINGS = "settings"  # + memory file: the first ones, or new ones to swap in; `name`: who asked for these
    REFUSED = "refused"  # `text`: new settings were not taken, and why; `name`: who asked for them
    PROGRAMS = "programs"  # `text`: the managed programs' phases, as JSON; DEMANDS answers it
    PROGRAM = "program"  # `name`, `text`: what happened to one of them, and why: for the ledger
    ORDERED = "ordered"  # `text`: the body of an `admin` record, as JSON: for the ledger
    ANCHOR = "anchor"  # `name`: a number, `text`: the witness that the gate is to ask; ANCHORED answers it
    NARROWED = "narrowed"  # `name`, `text`: what came of a worker's NARROW, see router.channel.steering
    NOTICE = "notice"  # `text`: how the last reload ended, as JSON: for /health
    CHANNEL = "channel"  # + socket; `name`: the worker at the other end
    PROCESSES = "processes"  # `rows`: the state of every process
    DRAIN = "drain"  # finish what runs, then exit
    PING = "ping"

    SEALED = "sealed"  # `text`: an attestation as JSON; the supervisor passes it on to the gate, `name`: whose it is
    READY = "ready"  # `text`: the digest of the policy now in force here
    PONG = "pong"  # `text`: of the gate, the log that it writes and how far that is signed for
    DEMANDS = "demands"  # `text`: how much each managed program is asked for, as JSON; from the gate
    FATAL = "fatal"  # `text`: starting again would not help
    NARROW = "narrow"  # `name`: a number, `text`: what an operator asks a worker to take away; NARROWED answers it
    ANCHORED = "anchored"  # `name`, `text`: what came of an ANCHOR, see router.channel.anchors
    LOST = "lost"  # a worker's channel to the gate has closed


WITH_DESCRIPTOR: Final = frozenset({Word.SETTINGS, Word.CHANNEL})  # of no use without: the kernel drops it at EMFILE


class ProcessState(msgspec.Struct, frozen=True):
    """One process of the tree as the supervisor sees it."""

    name: str
    state: str  # starting, ready, restarting, stopped; an engine runs: whether it serves is its upstream's state
    restarts: int = 0
    reason: str = ""
    seal: str = ""  # what the kernel enforces on it; "none": nothing; empty: not known yet, or the supervisor itself


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    word: Word
    name: str = ""
    text: str = ""
    rows: tuple[ProcessState, ...] = ()


OnMessage = Callable[[Message, list[int]], None]


class Control:
    """One end of a control socket, read by the running loop. The receiver owns the descriptors it is given.

    Who sends what is no message is not listened to any more: its socket is closed, as if it had closed it. A child
    whose supervisor does so ends, and is started again: so, too, one that had no room for the descriptor it was sent.
    """

    def __init__(self, sock: socket.socket, on_message: OnMessage, on_lost: Callable[[], None]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._on_message = on_message
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Best effort: a peer that is gone is noticed by reading; one that reads nothing is found by pings."""
        try:
            socket.send_fds(self._sock, [msgspec.json.encode(message)], list(descriptors))
        except OSError:
            return

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _readable(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._sock, LARGEST, MOST_DESCRIPTORS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, descriptors = b"", []
        try:
            message = msgspec.json.decode(data, type=Message) if data else None
        except (ValueError, RecursionError):  # msgspec's own are ValueErrors; so is text that is no UTF-8
            message = None
        if message is not None and (descriptors or message.word not in WITH_DESCRIPTOR):
            self._on_message(message, descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        self.close()
        self._on_lost()


def memory_file(data: bytes) -> int:
    """A descriptor of an anonymous file that holds `data` and can no longer change (memfd_create(2), F_ADD_SEALS).

    OSError: there is no descriptor or no memory for it.
    """
    descriptor = os.memfd_create("settings", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_memory_file(descriptor: int) -> bytes:
    """Read it whole, and close it."""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return file.read()
