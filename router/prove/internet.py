"""An internet that answers everything, whoever is called: leaks are seen, and do not merely fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast

PORTS: Final = (80, 443, 853, 3128, 8000, 8001, 8080, 8443, 11434)
ANY: Final = "0.0.0.0"  # noqa: S104 - every address of an isolated namespace
NOWHERE: Final = "203.0.113.66"  # TEST-NET-3: what every name that is not listed stands for
HUB: Final = "10.1.2.8"
WEIGHTS: Final = b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(8)
"""The smallest model file: a header without tensors and facts."""
_STREAM: Final = (
    b'data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
    b'data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)


@dataclass(slots=True)
class Internet:
    """`faults`: address -> what goes wrong there. `asked`: every name that was looked up."""

    names: Mapping[str, str]
    faults: dict[str, str] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    async def open(self) -> None:
        """Listen on every port; any address is this machine's."""
        for port in PORTS:
            for family, host in ((socket.AF_INET, ANY), (socket.AF_INET6, "::")):
                await asyncio.start_server(self._serve, host, port, family=family)
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: _Names(self), (ANY, 53))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("sockname")[0]
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next(
                    (int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length")), 0
                )
                body = await reader.readexactly(length)
                writer.write(self._answer(head.split(" ")[1], body, address))
                await writer.drain()
        writer.close()

    def _answer(self, path: str, body: bytes, address: str) -> bytes:
        fault = self.faults.get(address, "")
        if path.endswith(".gguf") and address == HUB:
            where = f"http://{NOWHERE}/steal" if fault == "sends elsewhere" else "http://10.1.2.9:8080/weights"
            return f"HTTP/1.1 302 Found\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode()
        if path == "/weights":
            return _whole(WEIGHTS, "application/octet-stream")
        if fault == "broken":
            return b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n"
        if fault == "redirects" and body:
            where = f"http://{NOWHERE}/steal"
            lines = f'Location: {where}\r\nRefresh: 0; url={where}\r\nAlt-Svc: h3="{NOWHERE}:443"\r\n'
            lines += f"Link: <{where}>; rel=preconnect"
            return f"HTTP/1.1 307 Elsewhere\r\n{lines}\r\nContent-Length: 0\r\n\r\n".encode()
        if b'"stream": true' in body or b'"stream":true' in body:
            return _whole(_STREAM, "text/event-stream")
        return _whole(json.dumps(_document(path)).encode(), "application/json")


def _whole(body: bytes, kind: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _document(path: str) -> dict[str, object]:
    if path.endswith("/models"):
        return {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "prove"}]}
    if path.endswith("/embeddings"):
        row = {"object": "embedding", "index": 0, "embedding": [0.5]}
        return {"object": "list", "data": [row], "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    if path.endswith("/rerank"):
        return {"model": "m", "results": [{"index": 0, "relevance_score": 0.5}]}
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "text": "x", "finish_reason": "stop"}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


class _Names(asyncio.DatagramProtocol):
    """DNS over UDP (RFC 1035): one A record for every name, nothing for any other type."""

    def __init__(self, internet: Internet) -> None:
        self._internet = internet
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if self._transport is None or len(data) < 17:
            return
        name, end = question_of(data)
        (kind,) = struct.unpack_from("!H", data, end)
        self._internet.asked.add(name)
        known = self._internet.names.get(name, NOWHERE)
        record = struct.pack("!HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(known) if kind == 1 else b""
        head = data[:2] + struct.pack("!HHHHH", 0x8580, 1, 1 if record else 0, 0, 0)
        self._transport.sendto(head + data[12 : end + 4] + record, address)


def question_of(data: bytes) -> tuple[str, int]:
    """The name asked for, and where its type stands."""
    labels: list[str] = []
    at = 12
    while at < len(data) and (size := data[at]):
        labels.append(data[at + 1 : at + 1 + size].decode("latin-1"))
        at += 1 + size
    return ".".join(labels), at + 1
