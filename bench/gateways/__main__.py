"""Measure gateways on the wire, Ringfence among them: `python -m bench.gateways [--only a,b] [--scenarios x,y]`.

The whole field alternates in random order. Every run is one line of JSON in the results' file; the table of medians
follows. A gateway that is not installed or does not start is named with the reason.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bench.gateways.field import FIELD, named
from bench.gateways.processes import cores
from bench.gateways.rounds import Plan, Row, play
from bench.gateways.scenarios import BY_NAME, SCENARIOS
from bench.gateways.table import table
from bench.gateways.wire import CACHE, HERE
from router.cli.interpreter import this_interpreter


def machine() -> Row:
    """What a figure depends on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return {
        "machine": {
            "cpu": model,
            "cores": len(cores()),
            "kernel": platform.release(),
            "python": sys.version.split()[0],
            "optimised": this_interpreter().optimised,
        },
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": " ".join(["python -m bench.gateways", *sys.argv[1:]]),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gateways", description=__doc__)
    names = ",".join(contestant.name for contestant in FIELD)
    parser.add_argument("--only", default=names, help=f"of {names}")
    parser.add_argument("--scenarios", default=",".join(BY_NAME), help=f"of {','.join(BY_NAME)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds before each measured window")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measured window")
    parser.add_argument("--out", type=Path, help="the file of raw results (default: in bench/results/)")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    contestants = named(options.only)
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in options.scenarios.split(",")]
    out = options.out or HERE / "results" / f"gateways-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.jsonl"
    CACHE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="run-", dir=CACHE))
    rows: list[Row] = []
    with out.open("w") as file:

        def tell(row: Row) -> None:
            rows.append(row)
            file.write(json.dumps(row).replace(f"{HERE.parent}/", "") + "\n")  # no place of one machine
            file.flush()
            if "cpu_us" in row:
                shown = f"{row['cpu_us']:9.1f} us CPU per {row['unit']}  {row['units_per_s']:9.0f}/s"
                print(f"{row['scenario']:14} {row['gateway']:14} {shown}", file=sys.stderr)
            elif "wire" not in row:
                print(json.dumps(row), file=sys.stderr)

        tell(machine())
        for contestant in contestants:
            tell({"version": contestant.name, "is": contestant.version(), "missing": contestant.missing()})
        present = [contestant for contestant in contestants if not contestant.missing()]
        play(scenarios, present, Plan(options.rounds, options.warm_up, options.seconds), scratch, tell)
    print(table(rows))
    print(f"raw: {out}")
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
