"""How many workers: `python -m bench.workers [1 2 3]`. One line of JSON a run, on all cores, the load among them.

Before the load, how 64 connections are dealt over the workers: opened all at once, and 5 ms apart.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.gateways.contestant import Place, Program, Running, running
from bench.gateways.ours import RINGFENCE
from bench.gateways.processes import Usage, cores, tree, usage
from bench.gateways.wire import CACHE, Load, Window, free_ports, mock, run_load

CONNECTIONS = 64
SETTLED_S = 1.0
RUNS = 3


def with_workers(place: Place, number: int) -> Program:
    program = RINGFENCE.prepare(place)
    return replace(program, command=[*program.command, "--workers", str(number)])


def workers(gateway: Running) -> list[int]:
    """Their pids."""
    return [pid for pid in tree(gateway.process.pid) if b"router.worker" in words(pid)]


def words(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def sockets(pid: int) -> int:
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            found += "socket" in str(descriptor.readlink())
    return found


def dealt(gateway: Running, apart_s: float) -> list[int]:
    """How many of CONNECTIONS each worker takes."""
    time.sleep(SETTLED_S)
    before = {pid: sockets(pid) for pid in workers(gateway)}
    with ExitStack() as held:
        for _ in range(CONNECTIONS):
            sock = held.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", gateway.target.port))
            time.sleep(apart_s)
        time.sleep(SETTLED_S)
        return [sockets(pid) - count for pid, count in before.items()]


def one_run(gateway: Running, scratch: Path) -> dict[str, Any]:
    used: list[Usage] = []
    window = Window(1.0, 3.0, cores())
    seen = run_load(Load(), gateway.target, window, scratch, lambda: used.append(usage(gateway.process.pid)))
    first, last = used
    gate = last.cpu["router.gate"] - first.cpu["router.gate"]
    return {
        "per_s": round(seen["done"] / seen["seconds"]),
        "failed": seen["failed"],
        "cpu_us": round((last.cpu_s - first.cpu_s) / seen["done"] * 1e6),
        "gate_cpu_us": round(gate / seen["done"] * 1e6),
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("numbers", type=int, nargs="*", default=[1, 2, 3])
    CACHE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="workers-", dir=CACHE))
    with mock(scratch, cores()) as upstream:
        for number in parser.parse_args().numbers:
            place = Place(scratch / str(number), free_ports(), (upstream.port,), tuple(cores()))
            contestant = replace(RINGFENCE, prepare=lambda place, number=number: with_workers(place, number))
            with running(contestant, place, upstream) as gateway:
                told = {"at_once": dealt(gateway, 0.0), "5_ms_apart": dealt(gateway, 0.005)}
                print(json.dumps({"workers": number, "dealt": told}), flush=True)
                for _ in range(RUNS):
                    print(json.dumps({"workers": number, **one_run(gateway, scratch)}), flush=True)
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
