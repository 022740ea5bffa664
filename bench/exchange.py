"""What an exchange costs in the gate alone: `python -m bench.exchange [--stream] [--calls] [--top 40]`.

The gate's own service in this process, on uvloop, with a real ledger; the worker is another process at the other end
of its channel, the upstream is the mock. CPU is that of the loop's thread and, apart, of the ledger's. `--calls` counts
the Python and C functions called in the loop's thread instead, which no other program on the machine can change.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import uvloop

from bench.gateways.processes import cores
from bench.gateways.wire import Answers, Load, body, mock
from policies import Destination, Endpoint, ModelRule, Policy, Reach, TierRule, UpstreamRule
from router.audit import Durability, Kind, Ledger, LedgerSettings
from router.channel.frames import Kind as Frame
from router.channel.frames import Splitter, pack
from router.channel.messages import Failure, Open, decode, encode
from router.gate.admission import Admission
from router.gate.dial import Dialler
from router.gate.recorder import Recorder
from router.gate.server import Gate
from router.gate.upstreams import Ears, Upstreams
from router.gate.world import World
from router.memory import settle_memory
from router.settings.snapshot import Snapshot, TierSettings, Timeouts
from router.verdicts import Verdicts

AT_ONCE = 64
PROMPT = 900
ROUNDS = 5
WARM_UP = 500
READ = 1 << 18
START_S = 10.0


def snapshot(port: int) -> Snapshot:
    upstream = UpstreamRule("u", Reach.HOST, destination=Destination("http", "127.0.0.1", port, "/v1"))
    policy = Policy(
        digest="d" * 64, upstreams={"u": upstream}, tiers={"t": TierRule("t", ("u",))},
        models={"bench": ModelRule("bench", ("t",))}, default_model="bench", callers={}, any_caller=True,
    )  # fmt: skip
    return Snapshot(policy, tiers={"t": TierSettings("t", Timeouts(), AT_ONCE * 2, AT_ONCE)})


def ask_again_and_again(channel: socket.socket, control: socket.socket, asked: bytes, *, stream: bool) -> None:
    """The worker: for each number that `control` says, so many exchanges, AT_ONCE at a time; then it answers."""
    splitter, numbers = Splitter(), count(1)

    def question() -> bytes:
        number = next(numbers)
        message = Open(
            f"req-{number:016x}", "anonymous", "bench", Endpoint.CHAT, "t", "u", 1, stream, len(asked), "d" * 64, 3
        )
        return pack(number, Frame.OPEN, encode(message)) + pack(number, Frame.BODY, asked)

    while wanted := int.from_bytes(control.recv(8), "little"):
        begun = min(AT_ONCE, wanted)
        channel.sendall(b"".join(question() for _ in range(begun)))
        ended = 0
        while ended < wanted:
            if not (data := channel.recv(READ)):
                raise SystemExit("the gate closed the channel")
            over = [is_over(kind, payload) for _, kind, payload in splitter.feed(data)].count(True)
            ended += over
            more = min(over, wanted - begun)
            begun += more
            if more:
                channel.sendall(b"".join(question() for _ in range(more)))
        control.send(b"\0")


def is_over(kind: Frame, payload: bytes) -> bool:
    """Is an exchange over by this frame? SystemExit tells why one failed."""
    if kind is Frame.FAIL:
        failure = decode(Failure, payload)
        raise SystemExit(f"an exchange failed: {failure.cause}: {failure.detail}")
    return kind in (Frame.ANSWER, Frame.END)


class Calls:
    """Which functions the loop's thread calls."""

    def __init__(self) -> None:
        self.python: Counter[CodeType] = Counter()
        self.c: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, what: Any) -> None:
        if event == "call":
            self.python[frame.f_code] += 1
        elif event == "c_call":
            self.c[getattr(what, "__qualname__", str(what))] += 1

    def tell(self, exchanges: int, top: int) -> None:
        python, c = sum(self.python.values()) / exchanges, sum(self.c.values()) / exchanges
        print(f"calls per exchange: Python {python:.1f}, C {c:.1f}")
        names = Counter({f"{Path(code.co_filename).name}:{code.co_qualname}": n for code, n in self.python.items()})
        for name, number in [*names.most_common(top), *self.c.most_common(top)]:
            print(f"{number / exchanges:8.2f} {name}")


async def served(gate: Gate, channel: socket.socket, control: socket.socket, options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    control.setblocking(False)
    await gate.attach(channel)
    settle_memory()

    async def run(number: int) -> None:
        try:
            await loop.sock_sendall(control, number.to_bytes(8, "little"))
            answered = await loop.sock_recv(control, 1)
        except OSError:
            answered = b""
        if not answered:
            raise SystemExit("the worker ended before its exchanges did: see above")

    await run(WARM_UP)
    if options.calls:
        calls = Calls()
        sys.setprofile(calls)
        await run(options.exchanges)
        sys.setprofile(None)
        calls.tell(options.exchanges, options.top)
    else:
        await timed(partial(run, options.exchanges), options.exchanges)
    await loop.sock_sendall(control, bytes(8))


async def timed(run: Callable[[], Any], exchanges: int) -> None:
    rows = []
    for _ in range(ROUNDS):
        loop_s, all_s = time.thread_time(), time.process_time()
        await run()
        loop_s, all_s = time.thread_time() - loop_s, time.process_time() - all_s
        rows.append((loop_s / exchanges * 1e6, (all_s - loop_s) / exchanges * 1e6))
    rows.sort()
    told = ", ".join(f"{mine:.1f}+{others:.1f}" for mine, others in rows)
    print(f"CPU us per exchange, the loop's thread + the ledger's, lowest first: {told}")


async def gate_of(port: int, directory: Path, durability: Durability) -> Gate:
    given = snapshot(port)
    ledger = Ledger.open(LedgerSettings(directory / "ledger", durability))
    recorder = Recorder(ledger)
    ears = Ears(lambda *_: None, lambda: None, partial(recorder.note, Kind.PROBE))
    upstreams = Upstreams(given, Dialler(directory), ears)
    gate = Gate(World(given, recorder, upstreams, {"t": Admission(AT_ONCE * 2, AT_ONCE)}, Verdicts(given.policy)))
    upstreams.start()
    async with asyncio.timeout(START_S):
        await upstreams.ready("u")
    return gate


async def measure(port: int, directory: Path, ends: tuple[socket.socket, socket.socket], options: Any) -> None:
    gate = await gate_of(port, directory, Durability(options.durability))
    await served(gate, *ends, options)
    await gate.drain(1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.exchange", description=__doc__)
    parser.add_argument("--stream", action="store_true", help="64 events each instead of one JSON document")
    parser.add_argument("--calls", action="store_true")
    parser.add_argument("--top", type=int, default=40)
    parser.add_argument("--exchanges", type=int, default=3000)
    parser.add_argument("--durability", default="strict", choices=[one.value for one in Durability])
    options = parser.parse_args()
    ours, theirs = socket.socketpair()
    control, ear = socket.socketpair()
    asked = body(Load(PROMPT, stream=options.stream), "bench")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the mock and the worker end with us
    worker = os.fork()
    if worker == 0:
        ours.close()
        control.close()  # so that each side sees the other end
        os._exit(worker_ended(partial(ask_again_and_again, theirs, ear, asked, stream=options.stream)))
    theirs.close()
    ear.close()
    try:
        with tempfile.TemporaryDirectory() as scratch, mock(Path(scratch), cores()) as upstream:
            upstream.answers(Answers(interval_us=0))
            uvloop.run(measure(upstream.port, Path(scratch), (ours, control), options))
    finally:
        os.kill(worker, signal.SIGKILL)  # it is not waited for yet, so the number is its own
        os.waitpid(worker, 0)


def worker_ended(work: Callable[[], None]) -> int:
    """Its exit code; why it could not go on is told."""
    try:
        work()
    except (SystemExit, OSError) as error:
        print(f"bench.exchange: the worker: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    main()
