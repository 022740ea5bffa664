"""Medians and spread of raw rows, as Markdown: `python -m bench.gateways.table FILE.jsonl`."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.gateways.limits import DIRECT, label

Row = dict[str, Any]
COLUMNS = (
    "gateway",
    "CPU µs",
    "per s",
    "p50 ms",
    "p99 ms",
    "added p50 ms",
    "first byte p50 ms",
    "jitter p99 ms",
    "RSS MB",
    "failed",
)


def table(rows: Iterable[Row]) -> str:
    """A table for each scenario: the cheapest gateway first; median, and lowest to highest in brackets."""
    runs = [row for row in rows if "wire" in row]
    parts = []
    for scenario in dict.fromkeys(row["scenario"] for row in runs):
        mine = [row for row in runs if row["scenario"] == scenario]
        parts.append(f"### {scenario} (per {mine[0]['unit']})\n\n{_lines(mine)}")
    return "\n\n".join(parts)


def _lines(runs: list[Row]) -> str:
    direct = {row["round"]: row["wire"]["latency_us"]["p50"] for row in runs if row["gateway"] == DIRECT}
    names = sorted({row["gateway"] for row in runs}, key=lambda name: _rank(runs, name))
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += [
        "| " + " | ".join(_cells(name, [row for row in runs if row["gateway"] == name], direct)) + " |"
        for name in names
    ]
    return "\n".join(lines)


def _rank(runs: list[Row], name: str) -> float:
    costs = [row["cpu_us"] for row in runs if row["gateway"] == name and "cpu_us" in row]
    return statistics.median(costs) if costs else -1.0


def _cells(name: str, runs: list[Row], direct: dict[int, float]) -> list[str]:
    wire = [row["wire"] for row in runs]
    stream = runs[0]["unit"] == "event"
    added = [row["wire"]["latency_us"]["p50"] - direct[row["round"]] for row in runs if row["round"] in direct]
    return [
        label(name),
        spread([row.get("cpu_us", 0.0) for row in runs]),
        spread([row["units_per_s"] for row in runs]),
        _ms([seen["latency_us"]["p50"] for seen in wire], hide=stream),
        _ms([seen["latency_us"]["p99"] for seen in wire], hide=stream),
        _ms(added, hide=stream),
        _ms([seen["ttft_us"]["p50"] for seen in wire], hide=not stream),
        _ms([seen["jitter_us"]["p99"] for seen in wire], hide=not stream),
        spread([row.get("rss_mb", 0.0) for row in runs]),
        str(sum(seen["failed"] for seen in wire)),
    ]


def _ms(times: list[float], *, hide: bool) -> str:
    return "" if hide or not any(times) else spread([time / 1000 for time in times])


def spread(values: list[float]) -> str:
    """Median (lowest–highest), three digits."""
    if not any(values):
        return ""
    return f"{_digits(statistics.median(values))} ({_digits(min(values))}–{_digits(max(values))})"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    print(table(json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()))
