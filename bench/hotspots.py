"""Where the time goes: `python -m bench.hotspots [--scenario NAME] [--seconds N] [--top N]`.

Samples gate and worker with py-spy (python -m bench.install py-spy) while the bench's load runs, and prints for each
the functions that were on the CPU or waited for the disk, by themselves and with what they called, in percent of the
samples. Needs root: the gate lets no process of its own user read it. The collapsed stacks stay in
.cache/bench/hotspots, for a flame graph.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from bench.gateways.contestant import Place, installed, running
from bench.gateways.ours import RINGFENCE
from bench.gateways.processes import tree
from bench.gateways.rounds import split_cores
from bench.gateways.scenarios import BY_NAME, Scenario
from bench.gateways.wire import CACHE, Window, free_ports, mock, run_load

PY_SPY = installed("py-spy", "bin", "py-spy")
KEPT = CACHE / "hotspots"
ROOMS = ("router.gate", "router.worker")


def rooms(pid: int) -> dict[str, int]:
    """Our processes by their modules."""
    found: dict[str, int] = {}
    for member in tree(pid):
        words = Path(f"/proc/{member}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        found |= {word: member for word in words if word in ROOMS}
    return found


def sampled(scenario: Scenario, seconds: float) -> dict[str, Path]:
    """The files of collapsed stacks, one for each process."""
    rest, own = split_cores(scenario.arrangement)
    KEPT.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="hotspots-", dir=CACHE))
    spies: dict[str, tuple[Path, subprocess.Popen[bytes]]] = {}
    with ExitStack() as stack:
        upstream = stack.enter_context(mock(scratch, rest, scenario.arrangement.upstreams))
        ports = tuple(range(upstream.port, upstream.port + upstream.count))
        place = Place(scratch / "ringfence", free_ports(), ports, own, keys=scenario.arrangement.keys)
        gateway = stack.enter_context(running(RINGFENCE, place, upstream))
        upstream.answers(scenario.mock_answers(seconds + 3))

        def spy() -> None:
            for room, pid in rooms(gateway.process.pid).items() if not spies else ():
                file = KEPT / f"{scenario.name}-{room}.txt"
                command: list[str | Path] = [
                    PY_SPY,
                    "record",
                    "--pid",
                    str(pid),
                    "--duration",
                    str(int(seconds)),
                    "--output",
                    file,
                ]
                quiet = subprocess.DEVNULL
                options = ["--format", "raw", "--rate", "250", "--function"]
                spies[room] = file, subprocess.Popen([*command, *options], stdout=quiet, stderr=quiet)

        run_load(scenario.load, gateway.target, Window(1.0, seconds + 2, rest), scratch, spy)
        for _, process in spies.values():
            process.wait(60)
    shutil.rmtree(scratch)
    return {room: file for room, (file, _) in spies.items()}


def hottest(stacks: Path, top: int) -> str:
    """Functions by their share of the samples; a stack is `outer;inner count`."""
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in stacks.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        alone[frames[-1]] += int(count)
        within.update(dict.fromkeys(frames, int(count)))
    total = alone.total() or 1
    lines = [
        f"{100 * count / total:5.1f} % {100 * within[name] / total:5.1f} %  {name}"
        for name, count in alone.most_common(top)
    ]
    return "\n".join([" self     with what it calls", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hotspots", description=__doc__)
    parser.add_argument("--scenario", default="chat-1k", choices=list(BY_NAME))
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--top", type=int, default=25)
    options = parser.parse_args()
    if not PY_SPY.exists():
        raise SystemExit("py-spy is not installed: python -m bench.install py-spy")
    for room, stacks in sampled(BY_NAME[options.scenario], options.seconds).items():
        print(f"\n{room}, {options.scenario} ({stacks})\n{hottest(stacks, options.top)}")


if __name__ == "__main__":
    main()
