"""Many connections at once: `python -m bench.scale [--idle 10000] [--streams 5000]`. One line of JSON for each stage.

Clients that have asked once and stay, from fifty addresses; then streams, an event a second each; clients that never
finish their request; and a few requests every second that must be answered as if nobody else were there. The whole
machine is used by everybody: gateway, mock, load and clients share its cores.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.gateways.certificates import authority
from bench.gateways.contestant import Place, Running, running
from bench.gateways.ours import RINGFENCE
from bench.gateways.processes import Usage, cores, usage
from bench.gateways.wire import CACHE, Answers, Load, Mock, Window, free_ports, mock, run_load

ADDRESSES = 50
AT_ONCE = 16  # of those that connect
PACE_S = 1.0
LIVE = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
HALF = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le"
SPARE = 2048  # descriptors
KB = 1024.0


@dataclass
class Crowd:
    """Clients that have asked once and stay; those that never finish asking."""

    port: int
    tls: ssl.SSLContext | None
    idle: list[socket.socket] = field(default_factory=list)
    slow: list[socket.socket] = field(default_factory=list)

    def connect(self, number: int) -> socket.socket:
        sock = socket.socket()
        sock.settimeout(60)
        sock.bind((f"127.0.0.{1 + number % ADDRESSES}", 0))
        sock.connect(("127.0.0.1", self.port))
        return sock if self.tls is None else self.tls.wrap_socket(sock, server_hostname="127.0.0.1")

    def settle(self, count: int) -> None:
        """So many more clients that are answered once."""
        with ThreadPoolExecutor(AT_ONCE) as several:
            self.idle += several.map(self.answered, range(count))

    def answered(self, number: int) -> socket.socket:
        sock = self.connect(number)
        assert ask(sock), "not everybody was answered"
        return sock

    def stall(self, count: int) -> None:
        with ThreadPoolExecutor(AT_ONCE) as several:
            self.slow += several.map(self.connect, range(count))
        for sock in self.slow:
            sock.sendall(HALF)

    def still_served(self, after_s: float = 0.0) -> int:
        """How many of the idle are answered again, after a while."""
        time.sleep(after_s)
        return sum(ask(sock) for sock in self.idle)

    def refused(self, within_s: float) -> int:
        """How many of the slow are told 408 and closed."""
        until = time.monotonic() + within_s
        told = 0
        for sock in self.slow:
            sock.settimeout(max(0.1, until - time.monotonic()))
            told += received(sock).startswith(b"HTTP/1.1 408")
        return told

    def leave(self) -> None:
        for sock in (*self.idle, *self.slow):
            sock.close()


def ask(sock: socket.socket) -> bool:
    """One request on a kept connection, its answer read to the end."""
    try:
        sock.sendall(LIVE)
        answer = b""
        while b"alive" not in answer:
            came = sock.recv(4096)
            if not came:
                return False
            answer += came
    except OSError:
        return False
    return answer.startswith(b"HTTP/1.1 200")


def received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(4096)
    except OSError:
        return b""


def descriptors(count: int) -> None:
    """Allow us, the mock and the gateway, which inherit it, so many each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))
        except ValueError:
            raise SystemExit(f"{count} descriptors are needed, and only {hard} allowed: ulimit -Hn {count}") from None


def each_kb(before: Usage, after: Usage, count: int) -> dict[str, float]:
    """What each of `count` clients costs in resident memory, by process."""
    return {
        name: round((size - before.rss.get(name, 0)) / KB / count, 2)
        for name, size in after.rss.items()
        if name.startswith("router.")
    }


def during(work: Callable[[], Any], meanwhile: Callable[[], Any]) -> tuple[Any, Any]:
    """Both at the same time; what each found."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(meanwhile()))
    thread.start()
    done = work()
    thread.join()
    return done, found[0] if found else None


@dataclass(frozen=True)
class Stage:
    """What runs."""

    gateway: Running
    mock: Mock
    scratch: Path
    crowd: Crowd

    def usage(self) -> Usage:
        return usage(self.gateway.process.pid)

    def probe(self, seconds: float) -> dict[str, Any]:
        """Twenty requests a second, as latency in milliseconds."""
        directory = self.scratch / f"probe-{time.monotonic_ns()}"
        directory.mkdir()
        window = Window(0.5, seconds, cores())
        seen = run_load(Load(connections=8, rate=20), self.gateway.target, window, directory, lambda: None)
        told = {name: round(seen["latency_us"][name] / 1000, 1) for name in ("p50", "p99", "max")}
        return {"requests": seen["done"], "failed": seen["failed"], "ms": told}


@contextmanager
def stage(*, tls: bool) -> Iterator[Stage]:
    CACHE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="scale-", dir=CACHE))
    shown = authority(scratch) if tls else None
    trusting = ssl.create_default_context(cafile=str(shown.authority)) if shown is not None else None
    try:
        with mock(scratch, cores()) as upstream:
            place = Place(scratch / "ringfence", free_ports(), (upstream.port,), tuple(cores()), front=shown)
            with running(RINGFENCE, place, upstream) as gateway:
                crowd = Crowd(place.port, trusting)
                yield Stage(gateway, upstream, scratch, crowd)
                crowd.leave()
    finally:
        shutil.rmtree(scratch)


def streams(on: Stage, count: int, ramp_s: float, seconds: float) -> dict[str, Any]:
    """So many streams begun within `ramp_s`, then watched; requests go on meanwhile, and the idle stay."""
    pace_us = int(PACE_S * 1e6)
    on.mock.answers(Answers(events=int((2 * ramp_s + seconds + 30) / PACE_S), interval_us=pace_us))
    load = Load(connections=count, stream=True, interval_us=pace_us, ramp_s=ramp_s)
    used: list[Usage] = [on.usage()]
    window = Window(ramp_s * 1.5, seconds, cores())
    seen, served = during(
        lambda: run_load(load, on.gateway.target, window, on.scratch, lambda: used.append(on.usage())),
        lambda: on.crowd.still_served(after_s=ramp_s * 1.5),
    )
    begun, opened, closed = used
    return {
        "streams": count,
        "events": seen["events"],
        "due": int(count * seen["seconds"] / PACE_S),
        "failed": seen["failed"],
        "torn": seen["torn"],
        "gap_ms": {name: round(seen["gap_us"][name] / 1000) for name in ("p50", "p99", "max")},
        "cpu_us_per_event": round((closed.cpu_s - opened.cpu_s) / max(1, seen["events"]) * 1e6, 1),
        "cores_used": round((closed.cpu_s - opened.cpu_s) / seen["seconds"], 2),
        "kb_each": each_kb(begun, closed, count),
        "idle_answered_meanwhile": served,
    }


def play(options: argparse.Namespace, tell: Callable[[dict[str, Any]], None]) -> None:
    with stage(tls=options.tls) as on:
        if not options.tls:
            tell({"alone": on.probe(options.seconds)})
        before = on.usage()
        began = time.monotonic()
        on.crowd.settle(options.idle)
        took = time.monotonic() - began
        after = on.usage()
        tell({"idle": options.idle, "opened_s": round(took, 1), "kb_each": each_kb(before, after, options.idle)})
        if not options.tls:
            tell({"beside_idle": on.probe(options.seconds)})
            tell(streams(on, options.streams, options.ramp, options.seconds))
        on.crowd.stall(options.slow)
        tell({"slow": options.slow, "told_408": on.crowd.refused(45)})
        tell({"idle_still_served": on.crowd.still_served(), "rss_mb": rss(on.usage())})


def rss(used: Usage) -> dict[str, float]:
    return {name: round(size / KB / KB, 1) for name, size in used.rss.items() if name.startswith("router.")}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=5_000)
    parser.add_argument("--slow", type=int, default=1_000, help="clients that never finish their request")
    parser.add_argument("--ramp", type=float, default=20.0, help="seconds in which all streams begin")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measured window")
    parser.add_argument("--tls", action="store_true", help="idle and slow clients over TLS, and no streams")
    options = parser.parse_args()
    descriptors(options.idle + options.streams + options.slow + SPARE)
    play(options, lambda row: print(json.dumps(row), flush=True))


if __name__ == "__main__":
    main()
