"""Each file's branch coverage against its floor: 100 % for decisions, records and the pipeline, 95 % elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FULL = ("policies/", "router/audit/", "router/pipeline.py")
FLOOR = 95.0


def floor_of(name: str) -> float:
    return 100.0 if name.startswith(FULL) else FLOOR


def main() -> int:
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        report = Path(scratch) / "coverage.json"
        command = [sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)]
        subprocess.run(command, check=True)
        files = json.loads(report.read_text())["files"]
    low = {
        name: figures["summary"]["percent_covered"]
        for name, figures in files.items()
        if figures["summary"]["percent_covered"] < floor_of(name)
    }
    for name, percent in sorted(low.items()):
        missing = files[name]["missing_lines"][:12]
        print(f"{name}: {percent:.1f} % (floor {floor_of(name):g} %), lines {missing}")
    print(f"coverage: {len(files)} files, {len(low)} below their floor")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
