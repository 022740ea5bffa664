"""Does memory stay flat? `python -m tests.fakes.soak --requests 1000000` (make soak).

Streams, whole answers, clients that leave, bad bodies, an upstream that fails now and then: everything that could leave
something behind. The resident memory of gate and workers is read as it goes; its growth after the first part of the
run, when caches are full, must stay within a bound. The ledger's files are deleted with the run.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.clients import Client
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, resident_bytes, running

AT_ONCE = 32
SAMPLES = 20
SETTLES = 5  # samples until everything has been used once
MAY_GROW = 0.10
MAY_GROW_BYTES = 6 * 1024 * 1024
POLICY = """version: 1
listen: {{workers: 1}}
upstreams:
  up-1: {{url: "{one}"}}
  up-2: {{url: "{two}"}}
tiers:
  - {{name: all, upstreams: [up-1, up-2], balance: least_busy, concurrency: 64, queue: 64}}
default_model: coder
audit: {{durability: async}}
"""


@dataclass
class Run:
    """What came of it. `memory`: by process, in bytes, a sample each."""

    answers: Counter[str] = field(default_factory=Counter)
    memory: dict[str, list[int]] = field(default_factory=dict)
    seconds: float = 0.0

    def sample(self, service: Service) -> None:
        for name, pid in service.pids().items():
            self.memory.setdefault(name, []).append(resident_bytes(pid))

    def grown(self) -> dict[str, str]:
        """The processes that have grown beyond the bound, and how."""
        found = {}
        for name, sizes in self.memory.items():
            before, after = max(sizes[:SETTLES]), sizes[-1]
            if after - before > MAY_GROW_BYTES + MAY_GROW * before:
                found[name] = f"{before / 1e6:.1f} -> {after / 1e6:.1f} MB"
        return found


async def soak(service: Service, fakes: tuple[Fake, Fake], requests: int, *, tell: bool = False) -> Run:
    """Send so many requests, AT_ONCE at a time. `tell`: print each sample, so that a long run is seen as it goes."""
    run, began = Run(), time.monotonic()
    for part in range(SAMPLES):
        fakes[0].reset()  # they remember what they saw
        fakes[1].reset()
        fakes[1].become(fault=("", "status_500", "reset_mid_event", "")[part % 4], times=20)
        each = requests // SAMPLES // AT_ONCE
        await asyncio.gather(*(_client(service.port, number, each, run.answers) for number in range(AT_ONCE)))
        run.sample(service)
        if tell:
            now = ", ".join(f"{name} {sizes[-1] / 1e6:.1f} MB" for name, sizes in run.memory.items())
            print(f"{run.answers.total()} requests after {time.monotonic() - began:.0f} s: {now}", flush=True)
    run.seconds = time.monotonic() - began
    return run


async def _client(port: int, number: int, requests: int, answers: Counter[str]) -> None:
    client = Client(port)
    for turn in range(requests):
        kind = (number + turn) % 16
        document = {"messages": [{"role": "user", "content": f"{number} {turn}"}], "stream": kind % 2 == 0}
        if kind == 15:
            await client.leave(document, 0.001)
            answers["left"] += 1
            continue
        answer = await client.ask({**document, "messages": "no list"} if kind == 14 else document)
        answers["whole" if answer.whole else answer.error] += 1
    client.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.fakes.soak")
    parser.add_argument("--requests", type=int, default=1_000_000)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        fake_upstream("--tokens", "2") as one,
        fake_upstream("--tokens", "2") as two,
    ):
        with running(Path(directory), POLICY.format(one=one.url, two=two.url)) as service:
            run = asyncio.run(soak(service, (one, two), given.requests, tell=True))
            restarts = {name: row["restarts"] for name, row in service.rows().items() if row["restarts"]}
    for name, sizes in run.memory.items():
        print(f"{name}: " + " ".join(f"{size / 1e6:.1f}" for size in sizes) + " MB")
    print(f"{run.answers.total()} requests in {run.seconds:.0f} s: {dict(run.answers)}")
    print(f"grown: {run.grown() or 'none'}; restarted: {restarts or 'none'}")
    return 1 if run.grown() or restarts else 0


if __name__ == "__main__":
    sys.exit(main())
