"""The only way out. What was judged is what is dialled: an address literal, checked again once connected."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from policies import Address, Destination, Reason, UpstreamRule, decide_egress
from router.channel.messages import Cause
from router.descriptors import Descriptors
from router.gate.connection import UpstreamConnection, UpstreamFault
from router.gate.door import through_door
from router.gate.resolver import Resolver
from router.gate.staggered import apart_s, first_connection
from router.gate.tls import tls_context

BACK_S = 1.0


class Dialler:
    """Opens connections to listed upstreams. Engines are UNIX sockets in `engine_directory`."""

    def __init__(
        self,
        engine_directory: Path,
        tls: ssl.SSLContext | None = None,
        descriptors: Descriptors = Descriptors(),  # noqa: B008 - frozen
    ) -> None:
        descriptor = os.open(engine_directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._engines = f"/proc/self/fd/{descriptor}"  # short enough for sockaddr_un wherever it lies
        self._tls = tls  # of the system's authorities, unless a test brings its own; read when one is first needed
        self._resolver = Resolver()
        self._descriptors = descriptors

    def system_tls(self) -> ssl.SSLContext:
        """By the system's authorities. Reading them takes 20 ms and some megabytes: only who dials TLS needs them."""
        if self._tls is None:
            self._tls = tls_context()
        return self._tls

    async def dial(self, rule: UpstreamRule, timeout_s: float, tls: ssl.SSLContext | None = None) -> UpstreamConnection:
        """A new connection to this upstream; UpstreamFault when it can't be had, or may not be.

        `tls`: for an upstream with authorities or a client certificate of its own.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        addresses: Sequence[Address] = ()
        if rule.destination is not None:
            addresses = await self._judged(rule.destination, timeout_s)
        try:
            async with asyncio.timeout_at(until):
                if rule.destination is None:
                    return self._afforded(await self._dial_engine(rule))
                if rule.managed:
                    return self._afforded(await self._dial_program(rule, rule.destination, addresses[0]))
                secure = rule.destination.scheme == "https"
                context = (tls or self.system_tls()) if secure else None
                dialled = await self._dial_network(rule.destination, addresses, context, timeout_s)
                return self._afforded(dialled)
        except TimeoutError:
            raise UpstreamFault(Cause.CONNECT_TIMEOUT, f"no connection within {timeout_s:g} s") from None

    def _afforded(self, connection: UpstreamConnection) -> UpstreamConnection:
        """The last descriptors are the ledger's. It is we who are busy then, and no upstream's failure."""
        if self._descriptors.short(connection.fileno()):
            connection.abort()
            raise _out_of_descriptors()
        return connection

    async def _dial_engine(self, rule: UpstreamRule) -> UpstreamConnection:
        path = f"{self._engines}/" + (f"{rule.engine}.sock" if rule.engine is not None else f"{rule.name}@/s")
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_unix_connection(UpstreamConnection, path)
        except OSError as error:
            raise _refused(error, "its socket: ") from None
        connection.address = "unix"
        return connection

    async def _dial_program(self, rule: UpstreamRule, destination: Destination, address: Address) -> UpstreamConnection:
        """It listens in a network of its own: its keeper makes the connection there, and we look where that leads."""
        sock = await through_door(f"{self._engines}/{rule.name}@.door")
        try:
            _, connection = await asyncio.get_running_loop().create_connection(UpstreamConnection, sock=sock)
        except OSError as error:
            sock.close()
            raise _refused(error) from None
        _check_peer(connection, address, destination.port)
        return connection

    async def _judged(self, destination: Destination, timeout_s: float) -> Sequence[Address]:
        """The host's addresses, every one of which may be dialled."""
        addresses = await self._resolver.addresses(destination, timeout_s)
        decision = decide_egress(destination, addresses)
        if not decision.allowed:
            cause = Cause.DNS if decision.reason is Reason.HOST_UNRESOLVED else Cause.POLICY
            raise UpstreamFault(cause, decision.reason, found=decision.detail)  # its address is no client's to know
        return addresses

    async def _dial_network(
        self, destination: Destination, addresses: Sequence[Address], tls: ssl.SSLContext | None, timeout_s: float
    ) -> UpstreamConnection:
        dials = [partial(_connect, destination, address, tls) for address in addresses]
        return await first_connection(dials, apart_s(len(dials), timeout_s))


async def _connect(destination: Destination, address: Address, tls: ssl.SSLContext | None) -> UpstreamConnection:
    loop = asyncio.get_running_loop()
    try:
        _, connection = await loop.create_connection(
            UpstreamConnection,
            str(address),
            destination.port,
            ssl=tls,
            server_hostname=destination.host if tls is not None else None,
        )
    except ssl.SSLError as error:
        raise UpstreamFault(Cause.TLS, error.reason or "handshake failed") from None
    except OSError as error:
        raise _refused(error) from None
    _check_peer(connection, address, destination.port)
    if tls is not None:
        _check_pins(connection, destination.tls_pins)
    return connection


def _refused(error: OSError, where: str = "") -> UpstreamFault:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return _out_of_descriptors()
    return UpstreamFault(Cause.REFUSED, f"{where}{error.strerror or 'connection failed'}")


def _out_of_descriptors() -> UpstreamFault:
    return UpstreamFault(Cause.BUSY, "too many connections are open here (RLIMIT_NOFILE)", BACK_S)


def _check_peer(connection: UpstreamConnection, address: Address, port: int) -> None:
    """The kernel must have connected us to the judged address, and not to ourselves."""
    peer = connection.peername()
    if peer is None:
        raise UpstreamFault(Cause.REFUSED, "reset as soon as it was connected")
    same = isinstance(peer, tuple) and ip_address(peer[0]) == address and peer[1] == port
    if not same or peer == connection.sockname():
        connection.abort()
        raise UpstreamFault(Cause.POLICY, "connected to another address than the one that was judged")
    connection.address = f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def _check_pins(connection: UpstreamConnection, pins: Sequence[str]) -> None:
    """One pin must be that of the certificate's key."""
    if not pins:
        return
    from router.gate.certificates import pin_of  # noqa: PLC0415 - as it says itself

    if pin_of(connection.peer_certificate()) not in pins:
        connection.abort()
        raise UpstreamFault(Cause.TLS, "the certificate's key is not one that is pinned")
