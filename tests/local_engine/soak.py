"""Many requests of all kinds against one engine process, a third of them given up half way; then the books are read.

Usage: python -m tests.local_engine.soak [--requests 10000] [--clients 12] [--tiny]      (`make soak-engine`)
`--tiny`: with a model of one layer and random weights that has the same vocabulary. Everything around the weights works
as much for each request as before, and ten thousand are served in a fraction of the time.
Fails when an answer is cut, when a request gets no answer, when anything is left running, or when memory grew.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from local_engine.launch import EngineSpec
from tests.local_engine.conftest import Child, listen, spawn, wait_until_ready
from tests.local_engine.made import tiny_model

SPEC = EngineSpec(context=2048, parallel=6, queue=8, threads=1)
GROWTH_MB = 24.0
"""Allowed between a fifth of the requests and the end: caches of token texts and of compiled graphs still fill."""
SWAP_MB = 47.2
"""What SPEC's prefixes take outside the cache once there are enough of them: 2048 tokens of 23,040 bytes."""
FILLS_IT = 1000
"""Requests of which a fifth fill it: fewer may grow by as much besides."""
SETTLE_S = 60
SYSTEM = "You are a terse assistant. Answer in as few words as you can, and never apologise for anything at all. "


@dataclass(slots=True)
class Tally:
    """What became of the requests, and the resident memory in MB over time."""

    endings: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    """One request: `leave_after` so many lines of its stream, or never."""

    path: str
    body: dict[str, Any]
    scope: str
    leave_after: int | None


def plan(dice: random.Random) -> Plan:
    """Chats, completions, embeddings and mistakes; shared prefixes, several scopes, grammars and choices."""
    scope = dice.choice(["", "a", "b"])
    leave = dice.randrange(8) if dice.random() < 0.33 else None
    text = " ".join(
        dice.choice(["red", "green", "blue", "seven", "stone", "river"]) for _ in range(dice.randrange(1, 20))
    )
    kind = dice.random()
    if kind < 0.08:
        return Plan("/v1/embeddings", {"input": [text, "second"]}, scope, None)
    if kind < 0.13:
        return Plan("/v1/completions", {"prompt": text, "n": 99}, scope, None)
    body: dict[str, Any] = {"max_tokens": dice.randrange(1, 20), "temperature": dice.choice([0, 0.8]), "stream": True}
    if dice.random() < 0.15:
        body["n"] = 2
    if dice.random() < 0.1:
        body["response_format"] = {"type": "json_object"}
    if dice.random() < 0.2:
        body["logprobs"] = 2 if kind < 0.4 else True
    if kind < 0.4:
        return Plan("/v1/completions", {**body, "prompt": text}, scope, leave)
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    return Plan("/v1/chat/completions", {**body, "messages": messages}, scope, leave)


async def ask(client: httpx.AsyncClient, wanted: Plan) -> str:
    """How it ended, one word. Raises AssertionError when that is not an ending the engine may have."""
    async with client.stream(
        "POST", wanted.path, json=wanted.body, headers={"X-Ringfence-Scope": wanted.scope}
    ) as answer:
        if answer.status_code != 200:
            raw = await answer.aread()
            assert answer.status_code in (400, 429), raw
            assert json.loads(raw)["error"]["code"], raw
            return "busy" if answer.status_code == 429 else "refused"
        last, count = "", 0
        async for line in answer.aiter_lines():
            if wanted.leave_after is not None and count >= wanted.leave_after:
                return "left"
            count += 1
            last = line or last
        assert wanted.path == "/v1/embeddings" or last == "data: [DONE]", last[-300:]
        return "whole"


async def run(child: Child, requests: int, clients: int, seed: int) -> Tally:
    tally, dice = Tally(), random.Random(seed)
    left = iter(range(requests))
    async with child.async_client() as client:

        async def work() -> None:
            for number in left:
                await _one(client, plan(dice), tally)
                if number % max(1, requests // 50) == 0:
                    tally.memory.append(resident_mb(child))
                    print(f"{number} {tally.memory[-1]:.0f} MB {dict(tally.endings)}", file=sys.stderr)

        await asyncio.gather(*(work() for _ in range(clients)))
        await _settled(client, tally)
    return tally


async def _one(client: httpx.AsyncClient, wanted: Plan, tally: Tally) -> None:
    try:
        ending = await ask(client, wanted)
    except (AssertionError, httpx.HTTPError, ValueError) as error:
        tally.faults.append(f"{wanted.path} {wanted.body}: {type(error).__name__} {error}")
        return
    tally.endings[ending] += 1
    if ending == "busy":
        await asyncio.sleep(0.05)


async def _settled(client: httpx.AsyncClient, tally: Tally) -> None:
    """Everyone who left was let go: nothing runs and nothing waits."""
    deadline = time.monotonic() + SETTLE_S
    health: dict[str, Any] = {}
    while time.monotonic() < deadline:
        health = (await client.get("/health")).json()
        if not health["running"] and not health["waiting"]:
            return
        await asyncio.sleep(0.05)
    tally.faults.append(f"still at work after {SETTLE_S} s: {health}")


def resident_mb(child: Child) -> float:
    status = Path(f"/proc/{child.process.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


def verdict(tally: Tally) -> list[str]:
    """What is wrong; empty when all is well."""
    early, late = max(tally.memory[: len(tally.memory) // 5 + 1]), tally.memory[-1]
    most = GROWTH_MB + (SWAP_MB if sum(tally.endings.values()) < FILLS_IT else 0)
    grown = [f"memory grew from {early:.0f} to {late:.0f} MB"] if late - early > most else []
    return [*tally.faults[:10], *grown]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        listener, path = listen(Path(folder))
        spec = replace(SPEC, model=str(tiny_model(Path(folder) / "tiny.gguf"))) if wanted.tiny else SPEC
        child = Child(listener, path, spawn(listener, spec, Path(folder)))
        stack.callback(child.end)
        with child.client() as client:
            wait_until_ready(client, 300)
        began = time.monotonic()
        tally = asyncio.run(run(child, wanted.requests, wanted.clients, wanted.seed))
        wrong = verdict(tally)
        took = f"in {time.monotonic() - began:.0f} s; {tally.memory[0]:.0f} to {tally.memory[-1]:.0f} MB"
        print(f"seed {wanted.seed}: {dict(tally.endings)} {took}")
    print("\n".join(wrong) or "nothing lost, nothing left running, memory flat")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
