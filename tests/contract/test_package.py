"""The package's builder reads what it needs: `pip install .` and the set-up of a fresh checkout begin with this."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from router import __version__

ROOT = Path(__file__).parents[2]


def test_the_builder_finds_version_and_command() -> None:
    """It reads the version with a regular expression of its own: an annotation that Python takes can be too much."""
    command = [sys.executable, "-m", "hatchling", "metadata"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["name"], told["version"]) == ("ringfence", __version__)
    assert told["scripts"] == {"ringfence": "router.cli:main"}
