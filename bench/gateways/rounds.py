"""Run scenarios over gateways: all alternate, in another random order each round, while the machine is as it is."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.gateways.behind import tls_clients, tls_front
from bench.gateways.certificates import authority
from bench.gateways.contestant import Contestant, Place, Running, running
from bench.gateways.processes import Usage, cores, usage
from bench.gateways.scenarios import Arrangement, Scenario
from bench.gateways.wire import Mock, Target, Window, free_ports, mock, run_load

Row = dict[str, Any]
STREAMS_BEGIN = 3  # times as long a warm-up for paced streams: all must have begun
DIRECT = "direct"  # no gateway: the load asks the mock


@dataclass(frozen=True, slots=True)
class Plan:
    """How often and how long."""

    rounds: int = 5
    warm_up_s: float = 1.0
    seconds: float = 3.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs for one arrangement."""

    mock: Mock
    gateways: list[Running]
    directory: Path


def split_cores(arrangement: Arrangement) -> tuple[list[int], tuple[int, ...]]:
    """The cores of load and mock, and those of the gateway: apart, unless the arrangement wants the whole machine."""
    have = cores()
    if arrangement.all_cores or len(have) == 1:
        return have, tuple(have)
    return have[:-1], (have[-1],)


def play(
    scenarios: Sequence[Scenario],
    contestants: Sequence[Contestant],
    plan: Plan,
    scratch: Path,
    tell: Callable[[Row], None],
) -> None:
    """Every scenario, `plan.rounds` times, over all contestants; each run's row is told as it is had."""
    for arrangement in dict.fromkeys(scenario.arrangement for scenario in scenarios):
        mine = [scenario for scenario in scenarios if scenario.arrangement == arrangement]
        wanted = [each for each in contestants if each.near or any(scenario.everyone for scenario in mine)]
        with ExitStack() as stack:
            stage = set_up(arrangement, wanted, scratch, stack, tell)
            for number in range(plan.rounds):
                for scenario in mine:
                    for row in one_round(scenario, stage, plan):
                        tell({**row, "round": number})


def set_up(
    arrangement: Arrangement,
    contestants: Iterable[Contestant],
    scratch: Path,
    stack: ExitStack,
    tell: Callable[[Row], None],
) -> Stage:
    """Mock and gateways, started; a gateway that does not start is told of, and left out."""
    directory = scratch / arrangement.name.replace(" ", "-")
    directory.mkdir(parents=True)
    rest, own = split_cores(arrangement)
    upstream = stack.enter_context(mock(directory, rest, arrangement.upstreams))
    ports = tuple(range(upstream.port, upstream.port + upstream.count))
    certificate = authority(directory) if arrangement.tls or arrangement.front else None
    if certificate is not None and arrangement.tls:
        ports = (stack.enter_context(tls_front(directory, upstream.port, certificate, rest)),)
    started = []
    for contestant in contestants:
        if not takes_part(contestant, arrangement):
            continue
        trusted = certificate.authority if certificate is not None else None
        place = Place(directory / contestant.name, free_ports(), ports, own, arrangement.tls, trusted, arrangement.keys)
        if arrangement.front:
            place = replace(place, front=certificate)
        try:
            gateway = stack.enter_context(running(contestant, place, upstream))
            if certificate is not None and arrangement.front:
                clients = tls_clients(directory / f"{contestant.name}-clients", place.port, certificate, rest)
                target = replace(gateway.target, port=stack.enter_context(clients), authority=None)
                gateway = replace(gateway, target=target)
        except (OSError, RuntimeError, TimeoutError) as error:
            tell({"failed_to_start": contestant.name, "arrangement": arrangement.name, "why": str(error)})
            continue
        took = {"seconds": round(gateway.started_s, 3), "cpu_s": round(usage(gateway.process.pid).cpu_s, 3)}
        tell({"started": contestant.name, "arrangement": arrangement.name, **took})
        started.append(gateway)
    return Stage(upstream, started, directory)


def takes_part(contestant: Contestant, arrangement: Arrangement) -> bool:
    """Whether what the arrangement asks for is something that it does."""
    asked = (arrangement.tls, arrangement.front, arrangement.upstreams > 1)
    does = (contestant.does_tls, contestant.does_front, contestant.does_many)
    return all(can for wanted, can in zip(asked, does, strict=True) if wanted)


def one_round(scenario: Scenario, stage: Stage, plan: Plan) -> Iterable[Row]:
    """The scenario once over the gateways of the stage that it is for, and once without any."""
    order: list[Running | None] = [
        None,
        *(each for each in stage.gateways if scenario.everyone or each.contestant.near),
    ]
    random.shuffle(order)
    warm_up_s = plan.warm_up_s * (STREAMS_BEGIN if scenario.load.interval_us else 1)
    stage.mock.answers(scenario.mock_answers(warm_up_s + plan.seconds))
    rest, _ = split_cores(scenario.arrangement)
    window = Window(warm_up_s, plan.seconds, rest)
    for gateway in order:
        yield one_run(scenario, gateway, stage, window)


def one_run(scenario: Scenario, gateway: Running | None, stage: Stage, window: Window) -> Row:
    """One load on one gateway: what came back on the wire, and what the gateway's processes used meanwhile."""
    used: list[Usage] = []

    def sample() -> None:
        if gateway is not None:
            used.append(usage(gateway.process.pid))

    target = Target(stage.mock.port) if gateway is None else gateway.target
    seen = run_load(scenario.load, target, window, stage.directory, sample)
    units = seen["events"] if scenario.load.stream else seen["done"]
    row: Row = {
        "scenario": scenario.name,
        "gateway": DIRECT if gateway is None else gateway.contestant.name,
        "unit": scenario.unit,
        "units_per_s": round(units / seen["seconds"], 1),
        "load_average": os.getloadavg()[0],
        "wire": seen,
    }
    return row if gateway is None else {**row, **costs(used[0], used[1], units)}


def costs(first: Usage, last: Usage, units: int) -> Row:
    """What the gateway's processes used in the window, for each unit; {} when nothing was answered."""
    if not units:
        return {}
    each = {name: round((spent - first.cpu.get(name, 0.0)) / units * 1e6, 3) for name, spent in last.cpu.items()}
    return {
        "cpu_us": round((last.cpu_s - first.cpu_s) / units * 1e6, 3),
        "cpu_us_by_process": each,
        "rss_mb": round(last.rss_bytes / 2**20, 1),
        "rss_mb_by_process": {name: round(size / 2**20, 1) for name, size in last.rss.items()},
    }
