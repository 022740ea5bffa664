"""How the gate reaches a program that listens on loopback in a network of its own: by connections made in there.

Whoever connects to the door is given a connected TCP socket (SCM_RIGHTS). A socket stays in the network that it was
made in, so the gate talks to the program itself: no byte of a prompt passes the keeper.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

CONNECT_S: Final = 4.0  # a program whose backlog is full drops what knocks: the kernel knocks again after 1 s and 3 s
MOST: Final = 128  # on their way at a time; more wait in the listener's backlog
CONNECTED: Final = b"\0"  # anything else is the error's number (errno(3)), and no socket comes with it


class _Knock(NamedTuple):
    """One visitor, and its connection on the way."""

    visitor: socket.socket
    connection: socket.socket
    until: float  # by time.monotonic

    def answer(self, error: int) -> None:
        """The connection, or why there is none."""
        with self.visitor, self.connection, contextlib.suppress(OSError):
            if error:
                self.visitor.send(bytes([min(error, 255)]))
            else:
                socket.send_fds(self.visitor, [CONNECTED], [self.connection.fileno()])


class Door:
    """The keeper's side. The listener is the supervisor's making, and lies in a directory that only its user enters.

    It never waits: a program that accepts nothing keeps its keeper from nothing else.
    """

    def __init__(self, listener: int, host: str, port: int) -> None:
        """`host` is an IP address."""
        self._listener = socket.socket(fileno=listener)
        self._listener.setblocking(False)
        self._address = (host, port)
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._knocks: dict[int, _Knock] = {}  # by the connection's descriptor

    def close(self) -> None:
        for knock in self._knocks.values():
            knock.answer(errno.ECONNABORTED)
        self._knocks.clear()
        self._listener.close()

    @property
    def visitors(self) -> Sequence[int]:
        """To be waited for until readable: then somebody is there to be let in."""
        return [self._listener.fileno()] if len(self._knocks) < MOST else []

    @property
    def connecting(self) -> Sequence[int]:
        """To be waited for until writable: then it is known what came of them."""
        return list(self._knocks)

    def look(self, readable: Sequence[int], writable: Sequence[int]) -> None:
        """What select(2) found of those above; also whose time is over."""
        for descriptor in writable:
            if (knock := self._knocks.pop(descriptor, None)) is not None:
                knock.answer(knock.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        now = time.monotonic()
        for descriptor in [number for number, knock in self._knocks.items() if knock.until < now]:
            self._knocks.pop(descriptor).answer(errno.ETIMEDOUT)
        if self._listener.fileno() in readable:
            self._let_in(now)

    def _let_in(self, now: float) -> None:
        try:
            visitor, _ = self._listener.accept()
        except OSError:
            return
        visitor.setblocking(False)
        try:
            connection = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            with visitor, contextlib.suppress(OSError):
                visitor.send(bytes([min(error.errno or errno.EMFILE, 255)]))
            return
        knock = _Knock(visitor, connection, now + CONNECT_S)
        begun = connection.connect_ex(self._address)
        if begun == errno.EINPROGRESS:
            self._knocks[connection.fileno()] = knock
        else:
            knock.answer(begun)


def listener(path: str) -> socket.socket:
    """A door where `path` says; what a dead one left there is removed. `path` may be short by way of /proc/self/fd."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - by way of a descriptor
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    sock.listen(128)
    return sock
