"""One line per gateway and what became of the goals: `python -m bench.gateways.summary FILE.jsonl`.

Every figure is a median of rounds of the raw rows in the file; ratios are medians of the rounds' own ratios.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.gateways.limits import DIRECT, FLOOR, label
from bench.gateways.scenarios import BY_NAME

Row = dict[str, Any]
OURS = "ringfence"
# Scenario, gateway, how many times its CPU ours may be at most (below 1: we must be so much cheaper).
GOALS: tuple[tuple[str, str, float], ...] = (
    ("chat-1k", "envoy", 1.0),
    ("chat-1k", "vllm-router", 1.0),
    ("chat-1k", "rolter", 1.0),
    ("chat-1k", "tensorzero", 1.0),
    ("chat-1k", "ferrogw", 1.0),
    ("chat-1k", "portkey", 1 / 5),
    ("chat-1k", "litellm", 1 / 150),
    ("chat-16k", "envoy", 1.1),
    ("streams-500", "envoy", 1.0),
)


def costs(rows: Iterable[Row]) -> dict[tuple[str, str], dict[int, float]]:
    """(scenario, gateway) -> round -> CPU µs of a unit, of rounds without a failed request that were long enough."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        if "cpu_us" in row and not row["wire"]["failed"] and steady(row):
            found.setdefault((row["scenario"], row["gateway"]), {})[row["round"]] = row["cpu_us"]
    return found


def steady(row: Row) -> bool:
    """Whether the window held enough: each connection was answered twice, or most of the events that fell due came.

    A gateway so slow that it was not needs a longer window (--seconds): what it spends on requests that end outside of
    it would be charged to the few that end inside.
    """
    load = BY_NAME[row["scenario"]].load
    wire = row["wire"]
    if load.interval_us:
        return bool(wire["events"] >= 0.5 * load.connections * wire["seconds"] * 1e6 / load.interval_us)
    if load.stream:
        return bool(2 * wire["whole_streams"] >= load.connections)
    if load.rate:
        return bool(wire["done"] >= 0.5 * load.rate * wire["seconds"])
    return bool(wire["done"] >= 2 * load.connections)


def matrix(rows: Sequence[Row]) -> str:
    """CPU µs by gateway and scenario, and resident memory; the cheapest at 1 KB first."""
    had = costs(rows)
    scenarios = list(dict.fromkeys(scenario for scenario, _ in had))
    names = sorted({name for _, name in had}, key=lambda name: _median(had.get((scenarios[0], name))) or 1e9)
    head = "| | " + " | ".join([*scenarios, "RSS MB"]) + " |"
    lines = [head, "|---" * (len(scenarios) + 2) + "|"]
    for name in names:
        cells = [_shown(_median(had.get((scenario, name)))) for scenario in scenarios]
        held = [row["rss_mb"] for row in rows if row.get("gateway") == name and "rss_mb" in row]
        bold = f"**{name}**" if name == OURS else label(name)
        lines.append("| " + " | ".join([bold, *cells, f"{min(held):.0f}–{max(held):.0f}"]) + " |")
    return "\n".join(lines)


def goals(rows: Sequence[Row]) -> str:
    """Each goal, what was measured, and whether it is reached."""
    had = costs(rows)
    lines = ["| scenario | against | goal | measured (lowest–highest) | |", "|---|---|---|---|---|"]
    for scenario, other, most in GOALS:
        ratios = _ratios(had.get((scenario, OURS), {}), had.get((scenario, other), {}))
        if not ratios:
            lines.append(f"| {scenario} | {other} | {_goal(most)} | not measured | |")
            continue
        middle = statistics.median(ratios)
        verdict = "reached" if middle <= most else "missed"
        lines.append(f"| {scenario} | {other} | {_goal(most)} | {_spread(ratios)} | {verdict} |")
    return "\n".join(lines)


def floors(rows: Sequence[Row]) -> str:
    """What the goals leave to a gateway of two processes: the floor against Envoy, and how far above it we are.

    "" where the floor was not measured.
    """
    had = costs(rows)
    if not any(name == FLOOR.name for _, name in had):
        return ""
    lines = ["| scenario | floor, CPU µs | floor : envoy | ringfence : floor |", "|---|---|---|---|"]
    for scenario in dict.fromkeys(scenario for scenario, name in had if name == FLOOR.name):
        floor = had[scenario, FLOOR.name]
        above = _ratios(had.get((scenario, OURS), {}), floor)
        below = _ratios(floor, had.get((scenario, "envoy"), {}))
        cells = [scenario, _shown(_median(floor)), *(_spread(ratios) if ratios else "–" for ratios in (below, above))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ratios(one: dict[int, float], other: dict[int, float]) -> list[float]:
    """Of the rounds that both have."""
    return [one[number] / other[number] for number in sorted(one.keys() & other.keys())]


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2g} × ({min(ratios):.2g}–{max(ratios):.2g})"


def absolutes(rows: Sequence[Row]) -> str:
    """The goals that are no ratio. Times and rates are of the machine as it was in the run."""
    mine = [row for row in rows if row.get("gateway") == OURS and "cpu_us" in row]
    direct = {
        (row["scenario"], row["round"]): row["wire"]["latency_us"] for row in rows if row.get("gateway") == DIRECT
    }

    def of(scenario: str) -> list[Row]:
        return [row for row in mine if row["scenario"] == scenario]

    def added(part: str) -> list[float]:
        """Milliseconds beyond the same round's direct answer, at 1,000 requests a second."""
        told = [(row["wire"]["latency_us"], direct.get((row["scenario"], row["round"]))) for row in of("rate-1000")]
        return [(ours[part] - bare[part]) / 1000 for ours, bare in told if bare is not None]

    measured = (
        (
            "gate, CPU µs per paced event",
            "≤ 25",
            [row["cpu_us_by_process"]["router.gate"] for row in of("streams-500")],
        ),
        ("events/s per core of CPU, flat out", "≥ 100,000", [1e6 / row["cpu_us"] for row in of("streams-flat")]),
        ("added p50 ms at 1,000/s", "≤ 0.6", added("p50")),
        ("added p99 ms at 1,000/s", "≤ 5", added("p99")),
        ("requests/s, all cores, load beside it", "≥ 15,000", [row["units_per_s"] for row in of("all-cores")]),
        ("worker, MB, all scenarios on one core", "≤ 60", [_held(row, "router.worker") for row in mine if _one(row)]),
        ("gate, MB", "≤ 50", [_held(row, "router.gate") for row in mine]),
    )
    lines = ["| | goal | median (lowest–highest) |", "|---|---|---|"]
    for name, goal, values in measured:
        if values:
            spread = f"{_shown(statistics.median(values))} ({_shown(min(values))}–{_shown(max(values))})"
            lines.append(f"| {name} | {goal} | {spread} |")
    return "\n".join(lines)


def _held(row: Row, room: str) -> float:
    held: float = row["rss_mb_by_process"].get(room, 0.0)
    return held


def _one(row: Row) -> bool:
    return bool(row["scenario"] != "all-cores")


def breakdown(rows: Sequence[Row]) -> str:
    """Ours by process: CPU µs of a unit, median."""
    mine = [row for row in rows if row.get("gateway") == OURS and "cpu_us_by_process" in row]
    lines = ["| scenario | unit | gate | worker | other | gate MB | worker MB |", "|---|---|---|---|---|---|---|"]
    for scenario in dict.fromkeys(row["scenario"] for row in mine):
        of_it = [row for row in mine if row["scenario"] == scenario]
        gate, worker = (_part(of_it, "cpu_us_by_process", room) for room in ("router.gate", "router.worker"))
        other = statistics.median(row["cpu_us"] for row in of_it) - gate - worker
        held = [_part(of_it, "rss_mb_by_process", room) for room in ("router.gate", "router.worker")]
        cells = [scenario, of_it[0]["unit"], *(_shown(cost) for cost in (gate, worker, max(0.0, other), *held))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _part(rows: Sequence[Row], column: str, room: str) -> float:
    parts: list[float] = [row[column].get(room, 0.0) for row in rows]
    return statistics.median(parts)


def _median(rounds: dict[int, float] | None) -> float | None:
    return statistics.median(rounds.values()) if rounds else None


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _goal(most: float) -> str:
    return f"≤ {most:g} ×" if most >= 1 else f"≤ 1/{round(1 / most)}"


if __name__ == "__main__":
    read = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    parts = [part(read) for part in (matrix, goals, floors, absolutes, breakdown)]
    print("\n\n".join(part for part in parts if part))
