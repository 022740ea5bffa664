"""Has Ringfence become dearer? `python -m bench.quick`: against nginx alone, under three minutes, exit code 1 if so.

A budget (bench/budgets.toml) is broken when it is in every round: then it is not the machine's noise.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.gateways.field import named
from bench.gateways.rounds import Plan, Row, play
from bench.gateways.scenarios import BY_NAME
from bench.gateways.table import table
from bench.gateways.wire import CACHE, HERE

Budgets = Mapping[str, Mapping[str, float]]


def broken(rows: Sequence[Row], budgets: Budgets) -> Iterator[str]:
    """A sentence for each budget that every round broke, and for each that nothing was measured for."""
    for scenario, most in budgets["cpu_to_nginx"].items():
        ratios = ratios_to_nginx(rows, scenario)
        if not ratios:
            yield f"{scenario}: nothing was measured"
        elif min(ratios) > most:
            yield f"{scenario}: {min(ratios):.1f} to {max(ratios):.1f} times nginx's CPU, the budget is {most:g}"
    ours = [row for row in rows if row.get("gateway") == "ringfence" and "rss_mb" in row]
    for process, most_mb in budgets["rss_mb"].items():
        held = [row["rss_mb_by_process"].get(process, 0.0) for row in ours]
        if held and min(held) > most_mb:
            yield f"{process}: holds {min(held):.0f} to {max(held):.0f} MB, the budget is {most_mb:g}"
    starts = [row["cpu_s"] for row in rows if row.get("started") == "ringfence"]
    if starts and min(starts) > (most_s := budgets["start"]["cpu_s"]):
        yield f"a start takes {min(starts):.2f} to {max(starts):.2f} s of CPU, the budget is {most_s:g}"
    failed = sum(row["wire"]["failed"] for row in ours)
    if failed:
        yield f"{failed} requests to ringfence failed"


def ratios_to_nginx(rows: Sequence[Row], scenario: str) -> list[float]:
    """Ours to nginx's CPU, round by round."""
    costs: dict[tuple[str, int], float] = {
        (row["gateway"], row["round"]): row["cpu_us"]
        for row in rows
        if row.get("scenario") == scenario and "cpu_us" in row
    }
    pairs = [(cost, costs.get(("nginx", number))) for (name, number), cost in costs.items() if name == "ringfence"]
    return [ours / nginx for ours, nginx in pairs if nginx]


def measure(scenarios: Sequence[str], plan: Plan) -> list[Row]:
    """Ringfence and nginx over the scenarios."""
    contestants = named("ringfence,nginx")
    lacking = [why for contestant in contestants if (why := contestant.missing())]
    if lacking:
        raise SystemExit("; ".join(lacking))
    CACHE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="quick-", dir=CACHE))
    rows: list[Row] = []

    def tell(row: Row) -> None:
        rows.append(row)
        if "failed_to_start" in row:
            raise SystemExit(f"{row['failed_to_start']} did not start: {row['why']}")

    play([BY_NAME[name] for name in scenarios], contestants, plan, scratch, tell)
    shutil.rmtree(scratch)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.quick", description=__doc__)
    parser.add_argument("--budgets", type=Path, default=HERE / "budgets.toml")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    budgets: dict[str, Any] = tomllib.loads(options.budgets.read_text())
    rows = measure(list(budgets["cpu_to_nginx"]), Plan(options.rounds, warm_up_s=1.0, seconds=2.0))
    print(table(rows))
    found = list(broken(rows, budgets))
    for sentence in found:
        print(f"over budget: {sentence}", file=sys.stderr)
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
