"""What deciding costs: `python bench/decisions.py [--upstreams N]`. One line of JSON per figure.

CPU time of one thread, the garbage collector on: the median of rounds, and the lowest and highest. `limit` is the goal:
the program ends with 1 when a median is above it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from policies import (
    ANONYMOUS,
    Decision,
    DestinationError,
    Endpoint,
    Policy,
    Reach,
    RequestFacts,
    decide_egress,
    decide_exchange,
    decide_request,
    parse_destination,
)
from router.settings.load import load

ROUNDS = 7
DECISION_US, REFUSAL_US, LOAD_S = 10.0, 50.0, 2.0
REFUSED = (
    "https://api.openai.com:443/v1",
    "http://169.254.169.254:80/v1",
    "http://0x7f000001:8000/v1",
    "https://user@gpu.lan.example:8443/v1",
    "http://8.8.8.8:8000/v1",
)


def tell(figure: str, unit: str, values: list[float], limit: float) -> bool:
    """Print a figure; whether it is within its goal."""
    middle = statistics.median(values)
    shown = {"median": round(middle, 3), "lowest": round(min(values), 3), "highest": round(max(values), 3)}
    print(json.dumps({"figure": figure, "unit": unit, **shown, "limit": limit, "within": middle <= limit}))
    return middle <= limit


def cpu_us(call: Callable[[], object], times: int) -> list[float]:
    """CPU microseconds of one call, for each round."""
    found = []
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for _ in range(times):
            call()
        found.append((time.process_time_ns() - began) / times / 1000)
    return found


def settings(upstreams: int) -> str:
    """A policy file with so many upstreams in tiers of 64; JSON is YAML."""
    first = int(ip_address("10.0.0.1"))
    names = {f"gpu-{at}": {"url": f"http://{ip_address(first + at)}:8000/v1"} for at in range(upstreams)}
    listed = list(names)
    tiers = [{"name": f"tier-{at}", "upstreams": listed[at : at + 64]} for at in range(0, upstreams, 64)]
    models = {"bench": {"tiers": [tier["name"] for tier in tiers][:3]}}
    return json.dumps({"version": 1, "upstreams": names, "tiers": tiers, "models": models, "default_model": "bench"})


def loaded(upstreams: int, directory: Path) -> tuple[Policy, list[float]]:
    """The policy of a generated file, and the CPU seconds of each load."""
    file = directory / f"{upstreams}.yaml"
    file.write_text(settings(upstreams))
    took = []
    for _ in range(3):
        began = time.process_time()
        policy = load(file, {}).policy
        took.append(time.process_time() - began)
    assert len(policy.upstreams) >= upstreams
    return policy, took


def refuse(url: str) -> None:
    """What a destination off the list, or disguised, costs where lists are read."""
    try:
        destination = parse_destination(url)
    except DestinationError:
        return
    address = ip_address("104.18.7.192") if destination.host.startswith("api") else ip_address(destination.host)
    assert not decide_egress(destination, [address]).allowed


def deciding(policy: Policy, size: str, times: int) -> Iterator[bool]:
    """What a request costs to decide, and what it costs to refuse, over one policy."""
    facts, near = RequestFacts(Endpoint.CHAT, "bench"), RequestFacts(Endpoint.CHAT, "bench", reach=Reach.PROCESS)
    who = ANONYMOUS.name

    def exchange(upstream: str) -> Decision:
        return decide_exchange(facts, who, "tier-0", upstream, policy)

    assert exchange("gpu-1").allowed
    assert not exchange("not-listed").allowed
    assert not decide_request(near, ANONYMOUS, policy).allowed
    asked = cpu_us(lambda: decide_request(facts, ANONYMOUS, policy), times)
    yield tell(f"decide_request, {size}", "us", asked, DECISION_US)
    yield tell(f"decide_exchange, {size}", "us", cpu_us(lambda: exchange("gpu-1"), times), DECISION_US)
    unlisted = cpu_us(lambda: exchange("not-listed"), times)
    yield tell(f"refuse an upstream that is not listed, {size}", "us", unlisted, REFUSAL_US)
    beyond = cpu_us(lambda: decide_request(near, ANONYMOUS, policy), times)
    yield tell(f"refuse by reach, {size}", "us", beyond, REFUSAL_US)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstreams", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=5_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        small, _ = loaded(64, Path(scratch))
        large, took = loaded(options.upstreams, Path(scratch))
    good = [tell(f"load {options.upstreams} upstreams", "s", took, LOAD_S * options.upstreams / 10_000)]
    good += deciding(small, "64 upstreams", options.times)
    good += deciding(large, f"{options.upstreams} upstreams", options.times)
    for url in REFUSED:
        good.append(tell(f"refuse {url}", "us", cpu_us(partial(refuse, url), options.times // 5), REFUSAL_US))
    raise SystemExit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
