"""What a worker's own part of a request costs: `python bench/worker.py [--upstreams N] [--stream] [--calls]`.

One process, no socket: the real protocol class over a transport that only counts, and the real channel client over a
gate that answers from memory, so that neither kernel nor peer is in the figures. One line of JSON: CPU microseconds of
a request (or, with --stream, of an event), the median of rounds, lowest and highest, and Python functions called for
one (counted by the interpreter: the same on every machine). With --calls these are listed, dearest first.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, cast

import msgspec
import uvicorn
import uvloop

from policies import Caller, Endpoint, ModelRule, Policy, Reach, TierRule, UpstreamRule
from router.api.app import Application
from router.api.intake import Intake
from router.api.protocol import RouterProtocol
from router.channel.client import GateClient
from router.channel.frames import ANSWER as FIXED
from router.channel.frames import COUNT, HEADER, Kind
from router.channel.link import Link
from router.channel.messages import Head
from router.channel.states import UpstreamLoad
from router.channel.steering import Steering
from router.logs import Log
from router.settings.snapshot import KeyRule, Snapshot, TierSettings
from router.view import View

KEY = "rf_0123456789ab_" + "x" * 43
ROUNDS, EVENTS = 5, 100
ENCODER = msgspec.msgpack.Encoder()
EVENT = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
ANSWER = json.dumps({"choices": [{"message": {"role": "assistant", "content": "w" * 900}}]}).encode()


def pack(number: int, kind: Kind, payload: bytes = b"") -> bytes:
    """Our own, so that what the gate's side does is not counted."""
    return HEADER.pack(len(payload), number, kind) + payload


class Wire(asyncio.Transport):
    """A transport whose writes only are counted. `written` is told of each."""

    def __init__(self, written: Callable[[bytes], None]) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.write = written  # type: ignore[method-assign,assignment]  # one call less to count

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        raise AssertionError

    def close(self) -> None:
        return


class MemoryGate:
    """Answers each exchange from memory, in the loop's next pass; of a stream, one event a pass."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, stream: bool) -> None:
        self._loop = loop
        self._stream = stream
        self._head = ENCODER.encode(Head(200, "text/event-stream" if stream else "application/json"))
        self.link: Link | None = None

    def take(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            length, number, kind = HEADER.unpack_from(data, at)
            at += HEADER.size + length
            if kind == Kind.OPEN:
                self._loop.call_soon(self._answer, number)

    def _tell(self, data: bytes) -> None:
        assert self.link is not None
        self.link.get_buffer(-1)[: len(data)] = data
        self.link.buffer_updated(len(data))

    def _answer(self, number: int) -> None:
        if self._stream:
            self._tell(pack(number, Kind.RECORD, COUNT.pack(number)) + pack(number, Kind.HEAD, self._head))
            self._loop.call_soon(self._event, number, EVENTS)
        else:
            fixed = FIXED.pack(number, len(self._head))
            self._tell(pack(number, Kind.ANSWER, fixed + self._head + ANSWER))

    def _event(self, number: int, left: int) -> None:
        self._tell(pack(number, Kind.DATA, EVENT) if left else pack(number, Kind.END))
        if left:
            self._loop.call_soon(self._event, number, left - 1)


def snapshot(upstreams: int) -> Snapshot:
    names = tuple(f"mock-{number}" for number in range(upstreams))
    policy = Policy(
        digest="0" * 64,
        upstreams={name: UpstreamRule(name, Reach.HOST) for name in names},
        tiers={"mocks": TierRule("mocks", names)},
        models={"bench": ModelRule("bench", ("mocks",))},
        default_model="bench",
        callers={"caller": Caller("caller")},
    )
    keys = (KeyRule("0123456789ab", hashlib.sha256(KEY.encode()).hexdigest(), "caller"),)
    return Snapshot(policy, tiers={"mocks": TierSettings("mocks", concurrency=4096, queue=4096)}, keys=keys)


def request(*, stream: bool) -> bytes:
    """As bench/wire/load.c asks."""
    message = {"role": "user", "content": "w" * 950}
    body = json.dumps({"model": "bench", "messages": [message], "max_tokens": 16, "stream": stream}).encode()
    head = (
        f"POST /v1/{Endpoint.CHAT} HTTP/1.1\r\nHost: 127.0.0.1:7860\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Bench:
    """Connections that ask again as soon as they are answered."""

    def __init__(self, connections: int, upstreams: int, *, stream: bool) -> None:
        loop = asyncio.get_running_loop()
        self._request = request(stream=stream)
        self._stream = stream
        self._answered = 0
        self._whole: asyncio.Future[None] = loop.create_future()
        gate = MemoryGate(loop, stream=stream)
        client = GateClient()
        client._link = gate.link = client.link()  # noqa: SLF001 - `attach` wants a socket; here is none
        gate.link.connection_made(Wire(gate.take))
        client.loads = {f"mock-{number}": UpstreamLoad(f"mock-{number}", 1, 2.0) for number in range(upstreams)}
        application = Application(snapshot(upstreams), client, View(), Log("bench"), Steering(lambda _: None))
        served, protocol = cast("Any", application), cast("Any", RouterProtocol)
        config = uvicorn.Config(served, http=protocol, interface="asgi3", log_config=None, access_log=False)
        config.load()
        state = uvicorn.server.ServerState()
        made = partial(RouterProtocol, lambda: application, Log("bench"), Intake())
        self._connections = [made(config=config, server_state=state, app_state={}) for _ in range(connections)]
        for connection in self._connections:
            connection.connection_made(Wire(self._written))

    def _written(self, data: bytes) -> None:
        if not self._stream or data.endswith(b"0\r\n\r\n"):
            assert self._stream or data.startswith(b"HTTP/1.1 200"), data
            self._answered += 1
            if self._answered == len(self._connections):
                self._whole.set_result(None)

    def _ask(self) -> None:
        for connection in self._connections:
            connection.data_received(self._request)

    async def round(self) -> None:
        """Each connection asks once, and all are answered."""
        self._answered = 0
        self._whole = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(self._ask)  # in no task, as the loop calls a protocol
        await self._whole
        await asyncio.sleep(0)


def counting(calls: Counter[str]) -> Callable[[FrameType, str, object], None]:
    """A profile function that counts functions of Python, and of C, by their names; none of this file."""

    def seen(frame: FrameType, event: str, called: object) -> None:
        code = frame.f_code
        if code.co_filename == __file__:
            return
        where = f"{code.co_filename.rpartition('/')[2]}:{code.co_qualname}"
        if event == "call":
            calls[where] += 1
        elif event == "c_call":
            calls[f"  C {getattr(called, '__qualname__', called)} in {where}"] += 1

    return seen


async def measure(options: argparse.Namespace) -> tuple[list[float], dict[str, float]]:
    bench = Bench(options.connections, options.upstreams, stream=options.stream)
    units = options.connections * (EVENTS if options.stream else 1)
    rounds = max(1, options.requests // units)
    found = []
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for _ in range(rounds):
            await bench.round()
        found.append((time.process_time_ns() - began) / (rounds * units) / 1000)
    calls: Counter[str] = Counter()
    sys.setprofile(counting(calls))
    await bench.round()
    sys.setprofile(None)
    return found, {name: round(count / units, 2) for name, count in calls.most_common()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--upstreams", type=int, default=1)
    parser.add_argument("--requests", type=int, default=6400, help="of a round (or events)")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--calls", action="store_true", help="list the functions called")
    options = parser.parse_args()
    found, calls = uvloop.run(measure(options))
    python = sum(count for name, count in calls.items() if not name.startswith("  C "))
    shown = {"median": statistics.median(found), "lowest": min(found), "highest": max(found)}
    told = {name: round(value, 2) for name, value in shown.items()}
    unit = "event" if options.stream else "request"
    print(
        json.dumps(
            {
                "unit": f"CPU us of one {unit}",
                **told,
                "calls": round(python, 2),
                "c_calls": round(sum(calls.values()) - python, 2),
            }
        )
    )
    for name, count in calls.items() if options.calls else ():
        print(f"{count:8.2f} {name}")


if __name__ == "__main__":
    main()
