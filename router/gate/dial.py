"""The only way out. What was judged is what is dialled: an address literal, checked again once connected."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import socket
import ssl
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from policies import Address, Destination, Reason, UpstreamRule, decide_egress
from router.channel.messages import Cause
from router.gate.connection import UpstreamConnection, UpstreamFault

MOST_ADDRESSES = 64


class Dialler:
    """Opens connections to listed upstreams. Engines are UNIX sockets in `engine_directory`."""

    def __init__(self, engine_directory: Path, tls: ssl.SSLContext | None = None) -> None:
        descriptor = os.open(engine_directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._engines = f"/proc/self/fd/{descriptor}"  # short enough for sockaddr_un wherever it lies
        self._tls = tls if tls is not None else tls_context()

    async def dial(self, rule: UpstreamRule, timeout_s: float) -> UpstreamConnection:
        """A new connection to this upstream; UpstreamFault when it can't be had, or may not be."""
        try:
            async with asyncio.timeout(timeout_s):
                if rule.destination is None:
                    return await self._dial_engine(rule)
                return await self._dial_network(rule.destination)
        except TimeoutError:
            raise UpstreamFault(Cause.CONNECT_TIMEOUT, f"no connection within {timeout_s:g} s") from None

    async def _dial_engine(self, rule: UpstreamRule) -> UpstreamConnection:
        path = f"{self._engines}/{rule.engine}.sock"
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_unix_connection(UpstreamConnection, path)
        except OSError as error:
            raise UpstreamFault(Cause.REFUSED, f"engine: {error.strerror}") from None
        return connection

    async def _dial_network(self, destination: Destination) -> UpstreamConnection:
        addresses = await resolve(destination.host)
        decision = decide_egress(destination, addresses)
        if not decision.allowed:
            cause = Cause.DNS if decision.reason is Reason.HOST_UNRESOLVED else Cause.POLICY
            raise UpstreamFault(cause, f"{decision.reason}: {decision.detail}")
        fault = UpstreamFault(Cause.REFUSED, "no address answered")
        for address in addresses:
            try:
                return await self._connect(destination, address)
            except UpstreamFault as error:
                fault = error
        raise fault

    async def _connect(self, destination: Destination, address: Address) -> UpstreamConnection:
        secure = destination.scheme == "https"
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                UpstreamConnection,
                str(address),
                destination.port,
                ssl=self._tls if secure else None,
                server_hostname=destination.host if secure else None,
            )
        except ssl.SSLError as error:
            raise UpstreamFault(Cause.TLS, error.reason or "handshake failed") from None
        except OSError as error:
            raise UpstreamFault(Cause.REFUSED, error.strerror or "connection failed") from None
        _check_peer(connection, address, destination.port)
        if secure:
            _check_pins(connection, destination.tls_pins)
        return connection


def _check_peer(connection: UpstreamConnection, address: Address, port: int) -> None:
    """The kernel must have connected us to the judged address, and not to ourselves."""
    peer = connection.peername()
    same = isinstance(peer, tuple) and ip_address(peer[0]) == address and peer[1] == port
    if not same or peer == connection.sockname():
        connection.abort()
        raise UpstreamFault(Cause.POLICY, "connected to another address than the one that was judged")


def _check_pins(connection: UpstreamConnection, pins: Sequence[str]) -> None:
    """One pin must be the SHA-256 of the certificate's SubjectPublicKeyInfo (as RFC 7469 wrote it)."""
    if not pins:
        return
    certificate = x509.load_der_x509_certificate(connection.peer_certificate())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if f"sha256/{base64.b64encode(hashlib.sha256(key).digest()).decode()}" not in pins:
        connection.abort()
        raise UpstreamFault(Cause.TLS, "the certificate's key is not one that is pinned")


async def resolve(host: str) -> Sequence[Address]:
    """All addresses of a name, asked for as an absolute name (no search domains); [] when there are none."""
    try:
        return (ip_address(host),)
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(f"{host}.", None, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        return ()
    addresses = tuple(dict.fromkeys(ip_address(entry[4][0]) for entry in found))
    if len(addresses) > MOST_ADDRESSES:
        raise UpstreamFault(Cause.DNS, f"{len(addresses)} addresses for one name")
    return addresses


def authority_files() -> tuple[str, ...]:
    """Where this build of OpenSSL looks for certificate authorities."""
    places = ssl.get_default_verify_paths()
    return tuple(str(Path(place).resolve()) for place in (places.openssl_cafile, places.openssl_capath) if place)


def tls_context(authorities: Path | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer, hostname and chain verified against the system's authorities, or this file's; HTTP/1.1 only."""
    context = ssl.create_default_context(cafile=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
