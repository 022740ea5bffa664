"""What the build of Python costs: `python -m bench.interpreters INTERPRETER [another ...] [--rounds N]`.

Each interpreter, of whichever version, and the one of .venv run a loop of pure Python and serve the scenario chat-1k,
in turns; each has an environment of its own with requirements/run.lock. One line of JSON per interpreter: seconds of
CPU for the loop, CPU microseconds per request, and both as ratios to .venv's, round by round; then its starts, as
`python -m bench.starts` tells them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.gateways.contestant import BIN, Contestant, Place, Program, output
from bench.gateways.ours import RINGFENCE
from bench.gateways.rounds import Plan, Row, play
from bench.gateways.scenarios import BY_NAME, PLAIN
from bench.gateways.wire import CACHE, HERE
from bench.starts import spread, starts

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
BUILD = "from router.cli.interpreter import this_interpreter; print(this_interpreter().lines()[0])"
LOCK = HERE.parent / "requirements" / "run.lock"


@dataclass(frozen=True, slots=True)
class Build:
    """One interpreter with the packages that serve."""

    interpreter: str
    name: str  # of its environment's directory
    python: Path
    says: str


def build_of(interpreter: str, scratch: Path) -> Build:
    """An environment of its own for this interpreter. SystemExit where none can be made."""
    name = f"python-{len(list(scratch.iterdir()))}"
    place = scratch / name
    python = place / "bin" / "python"
    install = [str(BIN / "python"), "-m", "pip", "--python", str(python), "install", "--quiet"]
    try:
        subprocess.run([interpreter, "-m", "venv", "--without-pip", place], check=True)
        subprocess.run([*install, "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{interpreter} cannot take part: {error}") from None
    packages = Path(output(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    (packages / "checkout.pth").write_text(f"{HERE.parent}\n")
    return Build(interpreter, name, python, output(python, "-c", BUILD))


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
    own = Build(".venv", "venv", BIN / "python", output(BIN / "python", "-c", BUILD))
    builds = [own, *(build_of(name, scratch) for name in options.interpreters)]
    looped = loops(builds, options.rounds)
    asked = requests(builds, Plan(options.rounds, 1.0, options.seconds), scratch / "run")
    begun = starts([contestant(build) for build in builds], options.rounds, scratch, PLAIN)
    for build in builds:
        name = build.name
        shown = {figure: spread([start[figure] for start in begun[name]]) for figure in ("health_s", "cpu_s", "rss_mb")}
        print(json.dumps({"python": build.interpreter, "is": build.says, "loop_s": told(looped[name], looped[own.name]),
                          "request_us": told(asked[name], asked[own.name]), "start": shown}))  # fmt: skip
    shutil.rmtree(scratch)


def requests(builds: Sequence[Build], plan: Plan, scratch: Path) -> dict[str, list[float]]:
    """CPU microseconds for a request, by interpreter, round by round. SystemExit where one did not serve."""
    rows: list[Row] = []
    play([BY_NAME["chat-1k"]], [contestant(build) for build in builds], plan, scratch, rows.append)
    for row in rows:
        if "failed_to_start" in row:
            raise SystemExit(f"{row['failed_to_start']} did not start: {row['why']}")
    return {build.name: [row["cpu_us"] for row in rows if row.get("gateway") == build.name] for build in builds}


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
