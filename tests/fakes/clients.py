"""A light client for many requests at once: one connection each, answers read by their framing alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass

PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    @property
    def whole(self) -> bool:
        """A stream with its end, or JSON with choices."""
        stream = not self.body.startswith(b"{")
        return self.status == 200 and (self.body.endswith(b"data: [DONE]\n\n") if stream else b'"choices"' in self.body)

    @property
    def error(self) -> str:
        """The code of its error, in the body or in the last event; ValueError when there is none."""
        last = self.body.strip().rpartition(b"\n\n")[2].removeprefix(b"data: ")
        return str(json.loads(last)["error"]["code"])


class Client:
    """One connection, used for request after request."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, document: object) -> Answer:
        """Send one request and read its whole answer."""
        reader, writer = await self._connected()
        writer.write(_request(document))
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
        body = await _body(reader, headers)
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(head[0].split(" ")[1]), body)

    async def leave(self, document: object, after_s: float) -> None:
        """Send one request and close before its end."""
        _, writer = await self._connected()
        writer.write(_request(document))
        await asyncio.sleep(after_s)
        self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self._reader, self._writer


def _request(document: object) -> bytes:
    body = json.dumps(document).encode()
    return f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)
