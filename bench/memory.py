"""Resident memory over many requests: `python -m bench.memory [--requests N] [--only a,b]`. One line of JSON per tenth.

Memory that grows with the requests answered shows here. The first tenth is the warm-up: later ones are compared to it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from bench.gateways.contestant import Contestant, Place, Running, running
from bench.gateways.field import named
from bench.gateways.processes import usage
from bench.gateways.rounds import split_cores
from bench.gateways.scenarios import PLAIN
from bench.gateways.wire import CACHE, Load, Window, free_ports, mock, run_load

SLICE_S = 2.0


def grow(gateway: Running, requests: int, scratch: Path, cores: list[int]) -> None:
    """Ask so many times, and tell what the processes hold after each tenth."""
    done, tenths = 0, 0
    while done < requests:
        seen = run_load(Load(), gateway.target, Window(0.0, SLICE_S, cores), scratch, lambda: None)
        done += int(seen["done"])
        if not seen["done"]:
            raise SystemExit(f"{gateway.contestant.name} does not answer: status {seen['last_status']}")
        if done * 10 // requests > tenths:
            tenths = done * 10 // requests
            held = {name: round(size / 2**20, 1) for name, size in usage(gateway.process.pid).rss.items()}
            total = round(sum(held.values()), 1)
            print(
                json.dumps({"gateway": gateway.contestant.name, "requests": done, "rss_mb": total, "by_process": held}),
                flush=True,
            )


def one(contestant: Contestant, requests: int, scratch: Path) -> None:
    rest, own = split_cores(PLAIN)
    with mock(scratch, rest) as upstream:
        place = Place(scratch / contestant.name, free_ports(), (upstream.port,), own)
        with running(contestant, place, upstream) as gateway:
            grow(gateway, requests, scratch, rest)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--only", default="ringfence")
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="memory-", dir=CACHE))
    for contestant in named(options.only):
        one(contestant, options.requests, scratch)
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
