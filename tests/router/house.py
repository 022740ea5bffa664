"""A gate and a worker's client in one process, joined by a real socketpair, before a real upstream with a script."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec.structs import replace

from policies import Destination, Endpoint, ModelRule, Policy, Reach, TierRule, UpstreamRule
from router.audit import Kind, Ledger, LedgerUnavailable
from router.audit.fields import Body, Outcome
from router.channel.client import GateClient
from router.channel.messages import Open
from router.gate.admission import Admission
from router.gate.capturing import AnswerTap
from router.gate.dial import Dialler
from router.gate.recorder import Recorder
from router.gate.server import Gate
from router.gate.upstreams import Ears, Upstreams
from router.gate.world import World
from router.settings.snapshot import Snapshot, TierSettings, Timeouts
from router.verdicts import Verdicts

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
FAST = Timeouts(connect_s=1.0, cold_start_s=1.0, first_token_s=0.4, answer_s=0.4, between_tokens_s=0.4, total_s=5.0)


def told(tap: AnswerTap) -> dict[str, object]:
    """What sealed capture adds to an outcome."""
    outcome = Outcome(decision=0, ending="")
    tap.tell(outcome)
    members: dict[str, object] = msgspec.to_builtins(outcome)
    return {name: members[name] for name in ("capture", "answer_mac") if name in members}


@dataclass(frozen=True)
class MemoryTicket:
    index: int


@dataclass
class MemoryLedger:
    """The ledger's interface over a list; it can be made to fail, or to be slow."""

    records: list[tuple[Kind, dict[str, Any]]] = field(default_factory=list)
    failure: str | None = None
    held: bool = False
    told: Callable[[int], None] = lambda _: None
    ended_with: int = 0  # records, when it was closed

    def on_durable(self, callback: Callable[[int], None]) -> None:
        self.told = callback

    def gather(self, alarm: object) -> None:
        """Nobody waits to be woken here."""

    def append(self, kind: Kind, body: Mapping[str, Any] | Body) -> MemoryTicket:
        if self.failure is not None:
            raise LedgerUnavailable(self.failure)
        self.records.append((kind, msgspec.to_builtins(body) if isinstance(body, Body) else dict(body)))
        if not self.held:
            self.told(len(self.records) - 1)
        return MemoryTicket(len(self.records) - 1)

    def note(self, kind: Kind, body: Mapping[str, Any] | Body) -> None:
        self.append(kind, body)

    def decide(self, body: bytes) -> int:
        return self.append(Kind.DECISION, msgspec.json.decode(body)).index

    def conclude(self, told: Outcome) -> None:
        self.append(Kind.OUTCOME, told)

    @property
    def durable(self) -> int:
        return -1 if self.held else len(self.records) - 1

    def digest(self, caller: str, text: bytes) -> str:
        return hashlib.sha256(caller.encode() + b"\0" + text).hexdigest()

    def digests(self, caller: str, texts: Sequence[bytes]) -> list[str]:
        return [self.digest(caller, text) for text in texts]

    def fail(self, reason: str) -> None:
        self.failure = reason
        self.told(-1)

    def close(self) -> None:
        self.ended_with = self.ended_with or len(self.records)

    def records_at_its_end(self, kind: Kind) -> list[dict[str, Any]]:
        return [body for found, body in self.records[: self.ended_with] if found is kind]

    def bodies(self, kind: Kind) -> list[dict[str, Any]]:
        return [body for found, body in self.records if found is kind]


@dataclass
class House:
    client: GateClient
    gate: Gate
    ledger: MemoryLedger
    upstreams: Upstreams
    snapshot: Snapshot
    worker_sock: socket.socket

    def ask(self, body: bytes = b'{"model":"m"}', **changes: Any) -> Any:
        message: dict[str, Any] = {
            "request_id": "r-1", "caller": "anonymous", "model": "m", "endpoint": Endpoint.CHAT, "tier": "t",
            "upstream": "u", "attempt": 1, "stream": False, "body_bytes": len(body), "policy": "digest",
            "deadline_s": 5.0,
        }  # fmt: skip
        return self.client.exchange(Open(**{**message, **changes}), body)

    async def answer(self, **changes: Any) -> bytes:
        exchange = self.ask(**changes)
        await exchange.opened()
        chunks = []
        while (data := await exchange.chunk()) is not None:
            chunks.append(data)
        return b"".join(chunks)

    async def outcomes(self, count: int = 1) -> list[dict[str, Any]]:
        """The outcomes, once there are so many."""
        async with asyncio.timeout(5):
            while len(found := self.ledger.bodies(Kind.OUTCOME)) < count:
                await asyncio.sleep(0.005)
        return found


def snapshot_for(port: int, timeouts: Timeouts = FAST, concurrency: int = 8, queue: int = 8) -> Snapshot:
    policy = Policy(
        digest="digest",
        upstreams={
            "u": UpstreamRule("u", Reach.HOST, destination=Destination("http", "127.0.0.1", port, "/v1")),
            "engine": UpstreamRule("engine", Reach.PROCESS, engine="small"),
        },
        tiers={"t": TierRule("t", ("u",)), "e": TierRule("e", ("engine",))},
        models={"m": ModelRule("m", ("t", "e"))},
        default_model="m",
        callers={},
        any_caller=True,
    )
    tiers = {name: TierSettings(name, timeouts, concurrency, queue) for name in policy.tiers}
    return Snapshot(policy, tiers=tiers)


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[int]:
    """A TCP server on loopback; its port. Scripts that still run at the end are cancelled."""
    running: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(run(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await asyncio.sleep(0.01)  # asyncio loses track of a connection that it has just accepted
        server.close()
        for task in tuple(running):
            task.cancel()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def house(
    port: int, directory: Path, change: Callable[[Snapshot], Snapshot] = lambda same: same, **settings: Any
) -> AsyncIterator[House]:
    """The gate's service with one worker attached, ready to be asked."""
    snapshot, ledger = change(replace(snapshot_for(port, **settings), credentials={"u": "secret"})), MemoryLedger()
    recorder = Recorder(cast("Ledger", ledger))  # its interface, over a list
    gates: list[Gate] = []

    def tell() -> None:
        for gate in gates:
            gate.tell_states()

    def rests() -> None:
        for gate in gates:
            gate.tell_loads()

    ears = Ears(lambda *_: tell(), rests, partial(recorder.note, Kind.PROBE))
    upstreams = Upstreams(snapshot, Dialler(directory), ears)
    admissions = {name: Admission(tier.concurrency, tier.queue) for name, tier in snapshot.tiers.items()}
    gate = Gate(World(snapshot, recorder, upstreams, admissions, Verdicts(snapshot.policy)))
    gates.append(gate)
    client = GateClient()
    ours, theirs = socket.socketpair()
    await gate.attach(ours)
    await client.attach(theirs)
    try:
        yield House(client, gate, ledger, upstreams, snapshot, theirs)
    finally:
        client.close()
        await gate.drain(0.2)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Head and body of one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    return head + await reader.readexactly(length)


def answering(answer: bytes) -> Script:
    """Every request gets these bytes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()

    return script


def plain(body: bytes, status: str = "200 OK", content_type: str = "application/json", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def streamed(*events: bytes, end: bool = True) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)
    return head + body + (b"0\r\n\r\n" if end else b"")
