"""What gate and workers import before they serve: on one core that is most of what a start takes."""

from __future__ import annotations

import subprocess
import sys

import pytest

NOT_YET = {
    "router.worker": {"starlette.applications", "anyio", "uvicorn.supervisors", "click", "argparse", "multiprocessing"},
    "router.gate": {"cryptography.hazmat.primitives.serialization", "cryptography.x509", "argparse", "http"},
}


@pytest.mark.parametrize("program", NOT_YET)
def test_nothing_is_imported_that_a_start_does_not_need(program: str) -> None:
    """Without options it ends when all is imported. In an empty environment: coverage would import more in it."""
    command = [sys.executable, "-I", "-X", "importtime", "-m", program]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={}).stderr
    imported = {line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}
    assert "uvloop" in imported
    assert "KeyError: '--control'" in told
    assert not NOT_YET[program] & imported
