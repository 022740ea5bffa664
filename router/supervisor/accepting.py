"""Connections to a listening socket. Where there is no descriptor for one it waits in the backlog, and that is said.

asyncio's own server says so up to a hundred times a second, for as long as it lasts.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

from router.logs import Log

AGAIN_S: Final = 0.5
BACKLOG: Final = 100
SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})  # accept(2): it passes


class Accepting:
    """Owns the listener; whoever is given a connection owns that."""

    def __init__(self, listener: socket.socket, take: Callable[[socket.socket], None], log: Log) -> None:
        self._listener = listener
        self._take = take
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._short = False
        listener.setblocking(False)
        listener.listen(BACKLOG)
        self._listen()

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()

    def _listen(self) -> None:
        self._again = None
        self._loop.add_reader(self._listener, self._readable)

    def _readable(self) -> None:
        """One each time: whoever else waits is found readable again."""
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if error.errno in SHORT:
                self._wait(error)
            return  # else whoever knocked has left
        if self._short:
            self._short = False
            self._log("orders_taken_again")
        self._take(connection)

    def _wait(self, error: OSError) -> None:
        """The kernel would call it readable all the time."""
        self._loop.remove_reader(self._listener)
        self._again = self._loop.call_later(AGAIN_S, self._listen)
        if not self._short:
            self._short = True
            self._log("orders_wait", reason=f"no descriptor for who gives one: {error.strerror}")
