"""How the gate reaches a program that listens on loopback in a network of its own: by connections made in there.

Whoever connects to the door is given a connected TCP socket (SCM_RIGHTS). A socket stays in the network that it was
made in, so the gate talks to the program itself: no byte of a prompt passes the keeper.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import Final

CONNECT_S: Final = 1.0
CONNECTED: Final = b"\0"  # anything else is the error's number (errno(3)), and no socket comes with it


class Door:
    """The keeper's side. The listener is the supervisor's making, and lies in a directory that only its user enters."""

    def __init__(self, listener: int, host: str, port: int) -> None:
        self._listener = socket.socket(fileno=listener)
        self._listener.setblocking(False)
        self._address = (host, port)

    def fileno(self) -> int:
        return self._listener.fileno()

    def close(self) -> None:
        self._listener.close()

    def let_in(self) -> None:
        """One visitor: a connection, or why there is none."""
        try:
            visitor, _ = self._listener.accept()
        except OSError:
            return
        with visitor, contextlib.suppress(OSError):
            visitor.settimeout(CONNECT_S)
            try:
                connection = socket.create_connection(self._address, CONNECT_S)
            except OSError as error:
                visitor.send(bytes([min(error.errno or errno.ETIMEDOUT, 255)]))
                return
            with connection:
                connection.setblocking(False)
                socket.send_fds(visitor, [CONNECTED], [connection.fileno()])


def listener(path: str) -> socket.socket:
    """A door where `path` says; what a dead one left there is removed. `path` may be short by way of /proc/self/fd."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - by way of a descriptor
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    sock.listen(128)
    return sock
