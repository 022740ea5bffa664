"""The two C programs of the bench, compiled when they are needed: the mock upstream and the load on the wire."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gateways.processes import start, stop, wait_for

HERE = Path(__file__).resolve().parent.parent
SOURCES = HERE / "wire"
CACHE = HERE.parent / ".cache" / "bench"
START_S = 10.0
SLACK_S = 30.0


def program(name: str) -> Path:
    """The compiled program, made again when a source is newer. CalledProcessError has the compiler's words."""
    made = CACHE / "bin" / name
    newest = max(file.stat().st_mtime for file in SOURCES.iterdir())
    if not made.exists() or made.stat().st_mtime < newest:
        made.parent.mkdir(parents=True, exist_ok=True)
        fresh = made.with_name(f"{name}.{os.getpid()}")  # others may compile at the same time
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", fresh, SOURCES / f"{name}.c"], check=True)
        fresh.replace(made)
    return made


def free_ports(count: int = 1) -> int:
    """The first of `count` neighbouring ports that are free now, below those the kernel deals out."""
    for _ in range(200):
        base = random.randrange(15000, 32000 - count)
        with contextlib.ExitStack() as doors:
            try:
                for port in range(base, base + count):
                    door = doors.enter_context(socket.socket())
                    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    door.bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise OSError(f"no {count} neighbouring ports are free")


def connects(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def client(port: int, authority: Path | None, timeout_s: float) -> http.client.HTTPConnection:
    """To a port of this machine; over TLS when there is an authority to trust."""
    if authority is None:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    trusting = ssl.create_default_context(cafile=str(authority))
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout_s, context=trusting)


def get(port: int, target: str, authority: Path | None = None) -> tuple[int, bytes]:
    """One GET; (0, b"") when nobody answers."""
    connection = client(port, authority, 5)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Answers:
    """How the mock answers: bytes of a whole answer, events of a stream, microseconds between them, bytes of each."""

    reply: int = 1024
    events: int = 64
    interval_us: int = 0
    event: int = 200


@dataclass(frozen=True, slots=True)
class Mock:
    """The mock upstream, on `count` ports from `port` on."""

    port: int
    count: int

    def answers(self, how: Answers) -> None:
        asked = f"reply={how.reply}&events={how.events}&interval_us={how.interval_us}&event={how.event}"
        status, _ = get(self.port, f"/control?{asked}")
        assert status == 200, "the mock does not answer"

    def seen(self) -> dict[str, int]:
        """How many exchanges it had."""
        found: dict[str, int] = json.loads(get(self.port, "/seen")[1])
        return found


@contextmanager
def mock(directory: Path, cores: list[int], count: int = 1) -> Iterator[Mock]:
    port = free_ports(count)
    command: list[str | Path] = [program("mock"), "--port", str(port), "--count", str(count)]
    process = start(command, directory, directory / "mock.log", on=cores)
    try:
        wait_for(lambda: get(port, "/health")[0] == 200, START_S, "the mock upstream")
        yield Mock(port, count)
    finally:
        stop(process)


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked: connections, requests a second (0: as fast as answered), a stream or not, the prompt's bytes."""

    prompt: int = 900
    connections: int = 64
    rate: float = 0
    stream: bool = False
    interval_us: int = 0
    ramp_s: float = 0  # all connections ask for the first time within so long; 0: at once, streams within one pace


def body(load: Load, model: str) -> bytes:
    """A chat request as an SDK writes it; `prompt` is its length in bytes, roughly."""
    words = "Explain to me, briefly, what the quick brown fox jumped over. "
    text = (words * (load.prompt // len(words) + 1))[: max(1, load.prompt)]
    more: dict[str, Any] = {"stream": True} if load.stream else {}
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    asked = {"model": model, "messages": messages, "max_tokens": 256, "temperature": 0.5, **more}
    return json.dumps(asked, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how a server is asked. `keys`: a file of bearer tokens, one a line, dealt out over the connections."""

    port: int
    path: str = "/v1/chat/completions"
    model: str = "bench"
    keys: Path | None = None
    headers: tuple[str, ...] = ()
    authority: Path | None = None  # it speaks TLS, by a certificate of this one


def post(target: Target, load: Load) -> int:
    """The status of one request, its answer read to the end; 0 when nobody answers."""
    headers = {"Content-Type": "application/json", **dict(header.split(": ", 1) for header in target.headers)}
    if target.keys is not None:
        headers["Authorization"] = f"Bearer {target.keys.read_text().partition(chr(10))[0]}"
    connection = client(target.port, target.authority, 10)
    try:
        connection.request("POST", target.path, body(load, target.model), headers)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return 0
    else:
        return answer.status
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Window:
    """How long the load warms up and is measured, and on which cores its program runs."""

    warm_up_s: float
    seconds: float
    cores: list[int]


def run_load(load: Load, target: Target, window: Window, scratch: Path, sample: Callable[[], None]) -> dict[str, Any]:
    """Load a server; what the load program saw. `sample` is called as the measured window opens and as it closes."""
    prompt = scratch / "prompt.json"
    prompt.write_bytes(body(load, target.model))
    command: list[str | Path] = ["taskset", "-c", ",".join(str(core) for core in window.cores), program("load")]
    command += ["--port", str(target.port), "--path", target.path, "--body", prompt]
    command += ["--connections", str(load.connections), "--rate", str(load.rate), "--stream", str(int(load.stream))]
    command += ["--interval-us", str(load.interval_us), "--ramp", str(load.ramp_s)]
    command += ["--warm-up", str(window.warm_up_s), "--seconds", str(window.seconds)]
    command += ["--keys", target.keys] if target.keys is not None else []
    for header in target.headers:
        command += ["--header", header]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line in {"begin\n", "end\n"}:
                sample()
                continue
            seen: dict[str, Any] = json.loads(line)
            return seen
    raise RuntimeError(f"the load program ended with {process.returncode}")
