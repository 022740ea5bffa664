"""Orders of the operator at this machine: one line of JSON in, one out, over a UNIX socket that only the owner opens.

The socket lies in the service's private directory (mode 0700) beside the ledger. Nothing of a client passes here.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from router.continuity import run_directory
from router.logs import Log
from router.supervisor.accepting import Accepting
from router.supervisor.family import is_below
from router.unforeseen import described, spawn

SOCKET: Final = "orders.sock"
_REACHED_WITHIN_S: Final = 5.0
LONGEST: Final = 64 * 1024
ASKED_WITHIN_S: Final = 10.0
NOT_THE_OWNER: Final = "only the owner of the service, or root, gives it orders, and no program that it runs"
UNSEEN: Final = (
    "the service cannot see which process asks, or one of its parents, so it may be a program that the service runs; "
    "where /proc is mounted with 'hidepid', or from outside its container, give orders as root"
)
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid: SO_PEERCRED of unix(7)
_DESCRIPTOR: Final = struct.Struct("i")
_PEER_PIDFD: Final = 77  # SO_PEERPIDFD of asm-generic/socket.h, for which Python has no name: a pidfd of the same


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be done; which fields count depends on `do`."""

    do: str
    name: str = ""
    without: tuple[str, ...] = ()
    reach: str = ""


class Told(msgspec.Struct, frozen=True):
    """How it ended, in words for a terminal."""

    good: bool
    text: str


class NoService(Exception):
    """No running service takes orders here; the message says where was looked."""


Obey = Callable[[Order], Awaitable[Told]]


class Orders:
    """The listening side, in the supervisor."""

    def __init__(self, directory: Path, obey: Obey) -> None:
        self._directory = directory
        self._obey = obey
        self._door: Accepting | None = None
        self._serving: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._door = Accepting(_bound(self._directory), self._take, Log("supervisor"))

    def close(self) -> None:
        if self._door is not None:
            self._door.close()

    def _take(self, sock: socket.socket) -> None:
        spawn(self._serve(sock), self._serving)

    async def _serve(self, sock: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=LONGEST)
        try:
            told = await self._answer(reader, writer)
        except Exception as error:  # noqa: BLE001 - whoever asked is answered, whatever it is, and the service goes on
            told = Told(good=False, text=mistake(error))
        with contextlib.suppress(OSError):
            writer.write(msgspec.json.encode(told) + b"\n")
            await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Told:
        if why := refusal(writer.get_extra_info("socket")):
            return Told(good=False, text=why)
        try:
            async with asyncio.timeout(ASKED_WITHIN_S):
                order = msgspec.json.decode(await reader.readline(), type=Order)
        except (TimeoutError, ValueError, msgspec.MsgspecError):
            return Told(good=False, text="that is no order")
        return await self._obey(order)


def mistake(error: Exception) -> str:
    """What is said of an order that failed in a way that nobody thought of; the log says the same."""
    reason = described(error)
    Log("supervisor")("order_failed", reason=reason)
    return f"this order failed unforeseen: {reason}; nothing says how far it came: see /health and the log"


def _bound(directory: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with near(directory) as place:
        sock.bind(f"{place}/{SOCKET}")
        Path(place, SOCKET).chmod(0o600)
    return sock


def refusal(sock: socket.socket) -> str:
    """Why the process at the other end gives no orders; "" if it does. The kernel says who it is (SO_PEERCRED).

    It must be root's, or of our own user and none that we started. A managed program runs as our user and can reach
    the socket: no file rule holds UNIX sockets. Whatever it starts stays below us and can become no other user
    (no_new_privs), and one that is gone by now could have been its.
    """
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    if uid not in (0, os.getuid()):
        return NOT_THE_OWNER
    if uid != os.getuid():
        return ""
    if pid == 0:  # outside our PID namespace: of it nothing can be known, and one in it may have such a parent
        return UNSEEN
    try:
        if is_below(pid, os.getpid()):
            return NOT_THE_OWNER
        return "" if _is_still(sock, pid) else UNSEEN
    except OSError:
        return UNSEEN


def _is_still(sock: socket.socket, pid: int) -> bool:
    """Whether whoever connected still has that number, so that it was its parents that were seen, and not those of one
    that came after it. Kernels before 6.5 cannot say: true. OSError: it is gone, or /proc says nothing.
    """
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _PEER_PIDFD, _DESCRIPTOR.size)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        return True
    [descriptor] = _DESCRIPTOR.unpack(raw)
    try:
        return b"Pid:\t%d" % pid in Path(f"/proc/self/fdinfo/{descriptor}").read_bytes().splitlines()
    finally:
        os.close(descriptor)


def ask(ledger: Path, order: Order, wait_s: float) -> Told:
    """Give an order to the service that writes this ledger; what it says. NoService; ValueError: it said nothing."""
    parent = run_directory(ledger)
    for own in _alive(parent):
        with contextlib.suppress(OSError), _reached(own, wait_s) as sock:
            sock.sendall(msgspec.json.encode(order) + b"\n")
            with sock.makefile("rb") as answer:
                if said := answer.readline():
                    return msgspec.json.decode(said, type=Told)
                raise ValueError("the service ended before it answered; nothing says how far it came: see its log")
    raise NoService(f"no running service takes orders in {parent}: is this its ledger, and are you its owner?")


def in_service(ledger: Path) -> bool:
    """Whether a service runs that was begun with this ledger, wherever that lies by now."""
    for own in _alive(run_directory(ledger)):
        with contextlib.suppress(OSError), _reached(own, _REACHED_WITHIN_S):
            return True
    return False


@contextlib.contextmanager
def _reached(own: Path, wait_s: float) -> Iterator[socket.socket]:
    """The service whose directory it is. OSError: there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(wait_s)
        with near(own) as place:
            sock.connect(f"{place}/{SOCKET}")
        yield sock


def homes(ledger: Path) -> Path:
    """Where managed programs of the service that writes this ledger have their homes and logs."""
    return run_directory(ledger) / "managed"


def _alive(parent: Path) -> list[Path]:
    """The directories of services, the newest first."""
    try:
        found = [path for path in parent.iterdir() if path.name.isdigit()]
    except OSError:
        return []
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


@contextlib.contextmanager
def near(directory: Path) -> Iterator[str]:
    """A short path of a directory, however long its own is (sockaddr_un holds 108 bytes)."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
