"""What the build of Python costs: `python -m bench.interpreters /usr/bin/python3.11 [another ...] [--rounds N]`.

Each interpreter, and the one of .venv, runs a loop of pure Python and serves the scenario chat-1k, in turns. All must
be of .venv's version (3.11, say), so that all run the very packages of .venv. One line of JSON per interpreter: seconds
of CPU for the loop, CPU microseconds per request, and both as ratios to .venv's, round by round.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.gateways.contestant import BIN, Contestant, Place, Program, output
from bench.gateways.ours import RINGFENCE
from bench.gateways.rounds import Plan, Row, play
from bench.gateways.scenarios import BY_NAME
from bench.gateways.wire import CACHE, HERE

LOOP = """
import time
def work(n):
    seen, total = {}, 0
    for number in range(n):
        total = (total * 31 + number) % 1000003
        seen[number % 997] = seen.get(number % 997, 0) + total
    return total
began = time.process_time()
work(1_500_000)
print(time.process_time() - began)
"""
VERSION = "import sys; print('.'.join(map(str, sys.version_info[:2])))"
BUILD = "from router.cli.interpreter import this_interpreter; print('\\n'.join(this_interpreter().lines()))"


@dataclass(frozen=True, slots=True)
class Build:
    """One interpreter with the packages of .venv."""

    interpreter: str
    name: str
    python: Path
    says: str


def build_of(interpreter: str, scratch: Path) -> Build:
    """An environment of its own that reads .venv's packages. SystemExit for another version of Python."""
    ours, theirs = output(BIN / "python", "-c", VERSION), output(interpreter, "-c", VERSION)
    if ours != theirs:
        raise SystemExit(
            f"{interpreter} is Python {theirs or '(none)'}, .venv is {ours}: its packages are for that one"
        )
    name = f"python-{len(list(scratch.iterdir()))}"
    place = scratch / name
    subprocess.run([interpreter, "-m", "venv", "--without-pip", place], check=True)
    packages = place / "lib" / f"python{theirs}" / "site-packages"
    shutil.rmtree(packages)
    packages.symlink_to(sysconfig.get_path("purelib"))  # a sealed process reads no .pth's places
    python = place / "bin" / "python"
    return Build(interpreter.removeprefix(f"{HERE.parent}/"), name, python, output(python, "-c", BUILD))


def contestant(build: Build) -> Contestant:
    def prepare(place: Place) -> Program:
        program = RINGFENCE.prepare(place)
        return replace(program, command=[str(build.python), "-m", "router", *program.command[1:]])

    return replace(RINGFENCE, name=build.name, prepare=prepare)


def loops(builds: Sequence[Build], rounds: int) -> dict[str, list[float]]:
    """Seconds of CPU for the loop, by interpreter, round by round."""
    had: dict[str, list[float]] = {build.name: [] for build in builds}
    for _ in range(rounds):
        for build in builds:
            had[build.name].append(float(output(build.python, "-c", LOOP)))
    return had


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.interpreters", description=__doc__)
    parser.add_argument("interpreters", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="interpreters-", dir=CACHE))
    builds = [build_of(name, scratch) for name in (str(BIN / "python"), *options.interpreters)]
    looped = loops(builds, options.rounds)
    rows: list[Row] = []
    plan = Plan(options.rounds, 1.0, options.seconds)
    play([BY_NAME["chat-1k"]], [contestant(build) for build in builds], plan, scratch / "run", rows.append)
    for row in rows:
        if "failed_to_start" in row:
            raise SystemExit(f"{row['failed_to_start']} did not start: {row['why']}")
    asked = {build.name: [row["cpu_us"] for row in rows if row.get("gateway") == build.name] for build in builds}
    for build in builds:
        print(json.dumps({"python": build.interpreter, "is": build.says,
                          "loop_s": told(looped[build.name], looped[builds[0].name]),
                          "request_us": told(asked[build.name], asked[builds[0].name])}))  # fmt: skip
    shutil.rmtree(scratch)


def told(values: Sequence[float], first: Sequence[float]) -> dict[str, float]:
    """Median, and ratios to the first interpreter's of the same round."""
    ratios = [value / base for value, base in zip(values, first, strict=True)]
    return {
        "median": round(statistics.median(values), 3),
        "ratio": round(statistics.median(ratios), 3),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
    }


if __name__ == "__main__":
    main()
