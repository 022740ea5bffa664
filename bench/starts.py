"""How long gateways take to start, and what they hold: `python -m bench.starts [--times N] [--only a,b] [--all-cores]`.

From the exec to the first whole answer of a chat request, asked every few milliseconds; for Ringfence also to the first
good `/health`. Each gateway is started N times, in turns, on one core, or on all. One line of JSON per gateway.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.gateways.contestant import Contestant, Place, running
from bench.gateways.field import FIELD, named
from bench.gateways.processes import usage
from bench.gateways.rounds import split_cores
from bench.gateways.scenarios import BOTH, PLAIN, Arrangement
from bench.gateways.wire import CACHE, Mock, free_ports, mock


def one_start(contestant: Contestant, directory: Path, upstream: Mock, cores: tuple[int, ...]) -> dict[str, float]:
    place = Place(directory, free_ports(), (upstream.port,), cores)
    with running(contestant, place, upstream) as gateway:
        used = usage(gateway.process.pid)
        return {
            "answer_s": gateway.started_s,
            "health_s": gateway.healthy_s,
            "cpu_s": used.cpu_s,
            "rss_mb": used.rss_bytes / 2**20,
        }


def starts(
    contestants: Sequence[Contestant], times: int, scratch: Path, arrangement: Arrangement
) -> dict[str, list[dict[str, float]]]:
    """What each start of each took, by name: all alternate, in another random order each time."""
    rest, own = split_cores(arrangement)
    had: dict[str, list[dict[str, float]]] = {contestant.name: [] for contestant in contestants}
    with mock(scratch, rest) as upstream:
        for _ in range(times):
            for contestant in random.sample(contestants, len(contestants)):
                directory = Path(tempfile.mkdtemp(prefix="start-", dir=scratch))
                had[contestant.name].append(one_start(contestant, directory, upstream, own))
    return had


def spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "lowest": round(min(values), 3),
        "highest": round(max(values), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.starts", description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", default=",".join(contestant.name for contestant in FIELD))
    parser.add_argument("--all-cores", action="store_true", help="as on a machine with nothing else to do")
    options = parser.parse_args()
    present = [contestant for contestant in named(options.only) if not contestant.missing()]
    arrangement = BOTH if options.all_cores else PLAIN
    CACHE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="starts-", dir=CACHE))
    cores = len(split_cores(arrangement)[1])
    for name, each in starts(present, options.times, scratch, arrangement).items():
        figures = [figure for figure in each[0] if any(start[figure] for start in each)]
        shown = {figure: spread([start[figure] for start in each]) for figure in figures}
        print(json.dumps({"gateway": name, "starts": len(each), "cores": cores, **shown}))
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
