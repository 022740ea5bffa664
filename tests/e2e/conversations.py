"""What clients of these stories say, and how they read answers: by nothing of the router's own code."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.fakes.running import Fake
from tests.service import Service, until

CHAT = "/v1/chat/completions"
MODEL = "coder"
GOOD_TEXT = "word0 word1 word2 word3 word4 "
QUICK = "{connect: 1s, cold_start: 1s, first_token: 500ms, answer: 500ms, between_tokens: 500ms, total: 8s}"


def chat(text: str = "hello", *, stream: bool = False, **more: object) -> dict[str, object]:
    return {"model": MODEL, "stream": stream, "messages": [{"role": "user", "content": text}], **more}


def policy(*fakes: Fake, timeouts: str = QUICK, more: str = "") -> str:
    """One tier for each fake, in this order, named tier-1, tier-2 …; upstreams up-1, up-2 …"""
    numbered = list(enumerate(fakes, start=1))
    upstreams = "\n".join(f'  up-{number}: {{url: "{fake.url}"}}' for number, fake in numbered)
    tiers = "\n".join(f"  - {{name: tier-{n}, upstreams: [up-{n}], timeouts: {timeouts}}}" for n, _ in numbered)
    names = ", ".join(f"tier-{number}" for number, _ in numbered)
    return (
        f"version: 1\nlisten: {{workers: 1}}\nupstreams:\n{upstreams}\ntiers:\n{tiers}\n"
        f"models:\n  {MODEL}: {{tiers: [{names}]}}\n{more}"
    )


def all_ready(service: Service) -> bool:
    """Whether the worker knows of every tier's upstreams, and that they are ready."""
    tiers = service.health()["tiers"]
    return all(rows and all(row["state"] == "ready" for row in rows) for rows in tiers.values())


def wait_until_ready(service: Service, seconds: float = 8.0) -> None:
    until(lambda: all_ready(service), seconds, "every upstream is ready")


# --- streams ---


def data_of(events: bytes) -> list[str]:
    """The data of each event, read as WHATWG HTML 9.2.6 says; AssertionError for half an event at the end."""
    assert events.endswith(b"\n\n"), f"the stream ends inside an event: {events[-80:]!r}"
    lines = [block.split("\n") for block in events.decode().removesuffix("\n\n").split("\n\n")]
    found = []
    for block in lines:
        data = [line.removeprefix("data: ") for line in block if not line.startswith(":")]
        assert all(line.startswith(("data: ", ":")) for line in block), f"no well-formed event: {block}"
        if data:
            found.append("\n".join(data))
    return found


def text_of(data: list[str]) -> str:
    """The content of a chat's events."""
    events = [json.loads(item) for item in data if item != "[DONE]"]
    return "".join(event["choices"][0]["delta"].get("content", "") for event in events if "choices" in event)


def error_of(body: bytes | str) -> dict[str, Any]:
    """The error of OpenAI's shape in this JSON; AssertionError if it is of another shape."""
    document = json.loads(body)
    assert document.keys() == {"error"}
    error: dict[str, Any] = document["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    assert error["param"] is None or isinstance(error["param"], str)
    return error


# --- raw clients ---


class RawClient:
    """A client by bytes: it can see how the answer was cut into writes, be slow, and leave when it likes."""

    def __init__(self, service: Service, *, receive_buffer: int = 0) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(20)
        self.sock.connect(("127.0.0.1", service.port))
        self._ahead = b""

    def ask(self, document: object, *headers: str, path: str = CHAT) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *headers]
        self.sock.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers (lower case)."""
        while b"\r\n\r\n" not in self._ahead:
            self._more()
        head, _, self._ahead = self._ahead.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split(" ")[1]), headers

    def body(self, length: int) -> bytes:
        """That many bytes after the head."""
        while len(self._ahead) < length:
            self._more()
        data, self._ahead = self._ahead[:length], self._ahead[length:]
        return data

    def chunks(self) -> Iterator[bytes]:
        """The answer's chunks (RFC 9112, 7.1) as they were sent; ends after the last one."""
        while True:
            while b"\r\n" not in self._ahead:
                self._more()
            size, _, self._ahead = self._ahead.partition(b"\r\n")
            length = int(size, 16)
            while len(self._ahead) < length + 2:
                self._more()
            data, self._ahead = self._ahead[:length], self._ahead[length + 2 :]
            if not data:
                return
            yield data

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError(f"closed by the service after {self._ahead[-200:]!r}")
        self._ahead += data

    def leave(self) -> float:
        """Close; when that was."""
        self.sock.close()
        return time.time()


@contextmanager
def raw_client(service: Service, *, receive_buffer: int = 0) -> Iterator[RawClient]:
    client = RawClient(service, receive_buffer=receive_buffer)
    try:
        yield client
    finally:
        client.sock.close()
