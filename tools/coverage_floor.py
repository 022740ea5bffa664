"""Branch coverage against its floors: 100 % of files that decide or record and of the pipeline, 95 % of each room."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

FULL = ("policies/", "router/audit/", "router/pipeline.py")
FLOOR = 95.0


def rooms_of(files: dict[str, Any]) -> dict[str, float]:
    """Percent covered (lines and branches together, as coverage.py counts) of each room, files of FULL left out."""
    covered: dict[str, int] = defaultdict(int)
    there: dict[str, int] = defaultdict(int)
    for name, report in files.items():
        figures = report["summary"]
        if not name.startswith(FULL):
            room = name.partition("/")[0]
            covered[room] += figures["covered_lines"] + figures["covered_branches"]
            there[room] += figures["num_statements"] + figures["num_branches"]
    return {room: 100.0 * covered[room] / there[room] for room in there}


def main() -> int:
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        report = Path(scratch) / "coverage.json"
        subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)], check=True)
        files = json.loads(report.read_text())["files"]
    percent = {name: entry["summary"]["percent_covered"] for name, entry in files.items()}
    holes = [name for name in percent if name.startswith(FULL) and percent[name] < 100.0]
    rooms = rooms_of(files)
    for name in sorted(holes):
        print(f"{name}: {percent[name]:.1f} % (floor 100 %), lines {files[name]['missing_lines'][:12]}")
    for room, covered in sorted(rooms.items()):
        print(f"{room}: {covered:.1f} % (floor {FLOOR:g} %)")
    lowest = sorted((value, name) for name, value in percent.items() if value < FLOOR)
    print("lowest files:", ", ".join(f"{name} {value:.0f} %" for value, name in lowest[:8]) or "none under the floor")
    return 1 if holes or min(rooms.values()) < FLOOR else 0


if __name__ == "__main__":
    sys.exit(main())
