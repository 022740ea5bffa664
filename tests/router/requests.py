"""Requests as bytes, good and bad: what HTTP/1.1 done right answers, whichever way it is spoken."""

from __future__ import annotations

import json

import pytest

DONE = b"data: [DONE]\n\n"
CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
STREAM = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}).encode()


def post(body: bytes = CHAT, head: str = "", path: str = "/v1/chat/completions", version: str = "1.1") -> bytes:
    lines = f"POST {path} HTTP/{version}\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{head}\r\n"
    return lines.encode() + body


NONSENSE = [
    pytest.param(post(head="Transfer-Encoding: chunked\r\n"), id="CL and TE"),
    pytest.param(post(head=f"Content-Length: {len(CHAT) + 1}\r\n"), id="two lengths"),
    pytest.param(post(head="X: a\r\n folded: b\r\n", body=CHAT).replace(b"folded", b"\x01folded"), id="control byte"),
    pytest.param(post().replace(b"\r\n", b"\n"), id="bare LF"),
    pytest.param(post(head="Bad Header: x\r\n"), id="space in a name"),
    pytest.param(post(head="X : y\r\n"), id="space before the colon"),
    pytest.param(post(head="Content-Length : 3\r\n"), id="space before the colon of a length"),
    pytest.param(b"POST /v1/chat/completions\r\n\r\n", id="HTTP/0.9"),
    pytest.param(post(version="3.7"), id="a version that is none"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", id="a TLS hello"),
    pytest.param(post().replace(b"Content-Length: ", b"Content-Length: +"), id="a signed length"),
    pytest.param(post().replace(b"Content-Length: ", b"Content-Length: 0x"), id="a hex length"),
]
TARGETS = [
    (b"GET /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    (b"HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    (b"DELETE /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    (b"POST /v1/../admin HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 404),
    (b"POST //v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 404),
    (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    (post(head="Host: other\r\n"), 400),
    (post().replace(b"Host: localhost", b"Host: evil.example"), 403),
    (post().replace(b"Host: localhost\r\n", b""), 400),
    (b"GET /livez HTTP/1.1\r\n\r\n", 400),
    (post().replace(b"Host: localhost\r\n", b"").replace(b"HTTP/1.1", b"HTTP/1.0"), 200),
    (b"GET /livez HTTP/1.0\r\n\r\n", 200),
    (post(head="Origin: https://evil.example\r\n"), 403),
    (post(head="Origin: http://localhost:3000\r\n"), 200),
    (post(b""), 400),
    (post(path="/v1/chat/completions?key=1"), 200),
]
UPGRADES = [
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    "Connection: upgrade\r\nUpgrade: websocket\r\n",
    "Connection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n",
]
