"""A gateway that takes part: how it is started before given upstreams, and what tells that it is ready."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.gateways.certificates import Certificate
from bench.gateways.processes import start, stop, wait_for
from bench.gateways.wire import CACHE, HERE, Answers, Load, Mock, Target, get, post

BIN = HERE.parent / ".venv" / "bin"
READY_S = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gateway is started: its directory, its port, the ports of its upstreams, how many cores it may use."""

    directory: Path
    port: int
    upstreams: tuple[int, ...]
    cores: tuple[int, ...]
    tls: bool = False  # spoken by the upstreams, with the certificate at `authority`
    authority: Path | None = None
    keys: int = 1
    front: Certificate | None = None  # what to show to clients, over TLS


@dataclass(frozen=True, slots=True)
class Program:
    """What to run."""

    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    keys: Path | None = None  # bearer tokens, one a line
    headers: tuple[str, ...] = ()
    path: str = "/v1/chat/completions"
    model: str = "bench"
    health: str = ""  # a path that is 200 when it can serve
    port_file: Path | None = None  # where it writes the port that it took, if it takes one by itself


@dataclass(frozen=True, slots=True)
class Contestant:
    """`prepare` writes the settings and says what to run; `missing` says why it cannot run here ("": it can)."""

    name: str
    prepare: Callable[[Place], Program]
    version: Callable[[], str]
    missing: Callable[[], str]
    does_tls: bool = True
    does_front: bool = False  # its settings here know TLS to clients
    does_many: bool = True
    near: bool = False  # in every scenario; the others only in those that are for everyone


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that answers."""

    contestant: Contestant
    process: subprocess.Popen[bytes]
    target: Target
    started_s: float  # from exec to the first whole answer
    healthy_s: float  # from exec to the first good answer of its health path; 0 for one that has none


def output(*command: str | Path) -> str:
    """The first line that a command prints, "" when there is no such program."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return ""
    return (run.stdout + run.stderr).strip().partition("\n")[0]


def executable(file: Path) -> Callable[[], str]:
    """Why the program is not to be had; "" when it is."""
    return lambda: "" if file.exists() else f"{file.name} is not installed: python -m bench.install"


def installed(name: str, *parts: str) -> Path:
    """A program in the environment that bench.install made for it."""
    return CACHE / "peers" / name / Path(*parts)


@contextmanager
def running(contestant: Contestant, place: Place, mock: Mock) -> Iterator[Running]:
    """The gateway, answering."""
    place.directory.mkdir(parents=True, exist_ok=True)
    mock.answers(Answers())
    program = contestant.prepare(place)
    log = place.directory / "output.log"
    began = time.monotonic()
    process = start(program.command, place.directory, log, on=place.cores, environment=program.environment)

    trusted = place.front.authority if place.front is not None else None

    def target() -> Target:
        file = program.port_file
        port = place.port if file is None else int(file.read_text()) if file.exists() else 0
        return Target(port, program.path, program.model, program.keys, program.headers, trusted)

    def answers() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{contestant.name} ended with {process.returncode}: see {log}\n{tail(log)}")
        return post(target(), Load()) == 200

    healthy = 0.0
    try:
        try:
            if program.health:
                wait_for(
                    lambda: get(place.port, program.health, trusted)[0] == 200,
                    READY_S,
                    f"{contestant.name}{program.health}",
                )
                healthy = time.monotonic() - began
            wait_for(answers, READY_S, f"{contestant.name} answers")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; see {log}\n{tail(log)}") from None
        yield Running(contestant, process, target(), time.monotonic() - began, healthy)
    finally:
        stop(process)


def tail(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-2000:] if log.exists() else ""


def as_json(document: object) -> str:
    return json.dumps(document, indent=1)
