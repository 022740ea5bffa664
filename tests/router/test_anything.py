"""Whatever a client sends and whatever an upstream answers: nobody is dialled, and no name is asked for, off the list.

The house is the real one, over real sockets, in this process; the interpreter's own audit events (PEP 578) say which
connections were asked for. That is a witness for Python's sockets alone, which are all that the house uses here: for a
whole, uvloop-driven service the witness is `ringfence prove`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.audit import Kind
from tests.router.fronts import front
from tests.router.house import House, plain, read_request

EVIL = "evil.example"
CALLS = frozenset(
    {
        "socket.connect",
        "socket.sendto",
        "socket.sendmsg",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "subprocess.Popen",
    }
)


@dataclass
class Calls:
    """What the interpreter was asked to do while we listened; a hook cannot be removed, only be deaf."""

    heard: list[tuple[str, Any]] = field(default_factory=list)
    listening: bool = False

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.listening and event in CALLS:
            self.heard.append((event, arguments[0] if event.startswith("socket.get") else arguments[-1]))


CALLED = Calls()
sys.addaudithook(CALLED.hook)


@dataclass
class Place:
    """The running house, and what its upstream answers next."""

    runner: asyncio.Runner
    house: House
    port: int
    upstream: int
    answer: list[bytes]

    def talk(self, data: bytes) -> bytes:
        return self.runner.run(self._talk(data))

    async def _talk(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        received = b""
        try:
            writer.write(data)
            async with asyncio.timeout(0.2):
                received = await reader.read(65536)
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()
        return received

    def dialled(self) -> set[Any]:
        """Everything that was called but the front door, which is ours, and the listed engine's UNIX socket."""
        calls = {call for _, call in CALLED.heard if call != ("127.0.0.1", self.port)}
        return {call for call in calls if not (isinstance(call, str) and call.endswith("/small.sock"))}


@contextmanager
def a_place(directory: Path) -> Iterator[Place]:
    """A house of its own, listened to for as long as the block lasts."""
    answer = [plain(b"{}")]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer[0])
        await writer.drain()

    async def enter(stack: AsyncExitStack) -> tuple[House, int]:
        return await stack.enter_async_context(front(script, directory))

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        house, port = runner.run(enter(stack))
        destination = house.snapshot.policy.upstreams["u"].destination
        assert destination is not None
        CALLED.heard.clear()
        CALLED.listening = True
        try:
            yield Place(runner, house, port, destination.port, answer)
        finally:
            CALLED.listening = False
            runner.run(stack.aclose())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with a_place(tmp_path_factory.mktemp("house")) as it:
        yield it


urls = st.sampled_from(
    [
        f"http://{EVIL}/",
        f"https://{EVIL}:443/v1",
        "//evil.example",
        "http://203.0.113.9",
        "file:///etc/passwd",
        "127.0.0.1:9",
    ]
)
keys = st.sampled_from(
    ["api_base", "base_url", "model", "messages", "tools", "url", "image_url", "extra_body", "metadata", "stream",
     "response_format", "$ref", "headers", "proxy", "api_key", "model_list", "functions", "prompt", "input", "x"]
) | st.text(max_size=8)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | urls,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
chats = st.builds(
    lambda more, text: {"model": "m", "messages": [{"role": "user", "content": text}], **more},
    st.dictionaries(keys, values, max_size=3),
    st.text(max_size=12)
    | st.lists(st.builds(lambda kind, url: {"type": kind, kind: {"url": url}}, keys, urls), max_size=2),
)
bodies = st.one_of(chats, values).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200)
names = st.sampled_from(
    ["Host", "X-Forwarded-Host", "Forwarded", "X-Ringfence-Reach", "X-Request-ID", "Authorization", "Proxy", "Upgrade",
     "X-Upstream-Https-Proxy", "X-Portkey-Custom-Host", "Connection", "Transfer-Encoding", "Traceparent", "Via"]
)  # fmt: skip
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
headers = st.lists(st.tuples(names, urls | texts), max_size=4)
targets = st.sampled_from(
    ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/completion", "/generate", "/warm?tier=t&wait=0",
     f"http://{EVIL}/v1/chat/completions", f"/v1/chat/completions?base_url=http://{EVIL}", f"//{EVIL}/v1/models",
     "/v1/../api/pull", f"@{EVIL}/", f"{EVIL}:443"]
)  # fmt: skip


def request(method: str, target: str, lines: list[tuple[str, str]], body: bytes) -> bytes:
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    length = f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}{length}\r\n".encode() + body


odd = st.builds(request, st.sampled_from(["POST", "GET", "CONNECT", "PUT"]), targets, headers, bodies)
taken = st.builds(  # well-formed but for one thing, so that most of them get as far as the upstream
    request,
    st.just("POST"),
    st.just("/v1/chat/completions"),
    st.lists(st.tuples(st.sampled_from(["X-Forwarded-Host", "Proxy", "Via", "Traceparent"]), urls | texts), max_size=1),
    st.builds(
        lambda text: json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode(),
        urls | st.text(max_size=12),
    ),
)
requests = st.one_of(taken, taken, odd, st.binary(max_size=300))
answers = st.builds(
    lambda status, lines, body: plain(body, status, extra="".join(f"{name}: {value}\r\n" for name, value in lines)),
    st.sampled_from(
        ["200 OK", "301 Moved", "302 Found", "307 Again", "308 So", "101 Switch", "404 No", "500 Bad", "503 Wait"]
    ),
    st.lists(
        st.tuples(st.sampled_from(["Location", "Refresh", "Alt-Svc", "Link", "Content-Location", "X-Y"]), urls),
        max_size=3,
    ),
    st.binary(max_size=60),
)
ANYTHING = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ANYTHING
@given(data=requests, answer=answers)
def test_whatever_is_asked_and_answered_nobody_else_is_called(place: Place, data: bytes, answer: bytes) -> None:
    place.answer[0] = answer
    place.talk(data)  # what it sets going late is heard with the next example: nothing is forgotten in between
    assert place.dialled() <= {("127.0.0.1", place.upstream)}


def test_good_requests_among_them_do_reach_the_upstream(place: Place) -> None:
    """Or the property would hold of a service that does nothing."""
    place.answer[0] = plain(b'{"ok":true}')
    CALLED.heard.clear()
    before = len(place.house.ledger.bodies(Kind.DECISION))
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
    assert b'{"ok":true}' in place.talk(request("POST", "/v1/chat/completions", [], body))
    assert place.dialled() == {("127.0.0.1", place.upstream)}
    assert len(place.house.ledger.bodies(Kind.DECISION)) == before + 1


def test_the_witness_hears_what_it_must(place: Place) -> None:
    CALLED.heard.clear()
    with socket.socket() as sock:
        sock.connect_ex(("127.0.0.1", 9))
    assert place.dialled() == {("127.0.0.1", 9)}
