"""HTTP/1.1 by hand, as far as the fake upstream needs it: raw, so that every fault can be made at byte level."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

LARGEST_HEAD = 64 * 1024
REASONS = {
    101: "Switching Protocols",
    200: "OK",
    404: "Not Found",
    429: "Too Many Requests",
    503: "Service Unavailable",
}


@dataclass(slots=True)
class Request:
    """One request as it came in."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")

    @property
    def document(self) -> dict[str, Any]:
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


@dataclass(slots=True)
class Seen:
    """What became of one request; `ending`: open, complete, client_left or fault."""

    connection: int
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: str
    generated: int = 0
    ending: str = "open"
    sent_bytes: int = 0
    times: list[float] = field(default_factory=list)


class ClientLeft(Exception):
    """The other side closed while we were at work."""


class Wire:
    """One accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.number = number
        self._reader = reader
        self._writer = writer
        self._ahead = b""
        sock = writer.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def request(self, *, pause_s: float = 0.0) -> Request | None:
        """The next request, or None when the client closed. `pause_s`: before every 1 KiB of the body."""
        try:
            head = self._ahead + await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        self._ahead = b""
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, path, _version = first.split(" ")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        request = Request(method, path, headers, b"")
        request.body = await self._body(int(request.header("content-length") or 0), pause_s)
        return request

    async def _body(self, length: int, pause_s: float) -> bytes:
        if not pause_s:
            return await self._reader.readexactly(length)
        body = b""
        while len(body) < length:
            await asyncio.sleep(pause_s)
            body += await self._reader.read(min(1024, length - len(body)))
        return body

    async def send(self, data: bytes) -> None:
        """Write all of it; ClientLeft when nobody reads it."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            raise ClientLeft from None

    async def client_leaves(self) -> None:
        """Returns when the client closes; a request that comes early (never: nobody pipelines) is kept."""
        try:
            while data := await self._reader.read(1):
                self._ahead += data
        except ConnectionError:
            return

    async def trickle(self, data: bytes, step: int = 1) -> None:
        """Every `step` bytes in a segment of their own."""
        for at in range(0, len(data), step):
            await self.send(data[at : at + step])
            await asyncio.sleep(0)

    @property
    def closing(self) -> bool:
        return self._writer.is_closing()

    def reset(self) -> None:
        """Close with RST: what a crashed or firewalled server looks like."""
        sock = self._writer.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()


def head(status: int, *headers: tuple[str, str]) -> bytes:
    """Status line and headers, with the blank line."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def whole(status: int, body: bytes, *headers: tuple[str, str], content_type: str = "application/json") -> bytes:
    """A whole answer of known length."""
    return head(status, ("Content-Type", content_type), ("Content-Length", str(len(body))), *headers) + body


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112, 7.1); the empty one ends the answer."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
