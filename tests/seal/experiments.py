"""Runs the experiments of `tests.seal.captive`, as whoever we are or as an ordinary user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
NOBODY = 65534
ROOT = os.geteuid() == 0


def run(*arguments: str, user: int | None = None) -> Any:
    """One experiment's answer."""
    identity: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user is not None else {}
    ended = subprocess.run(
        [python(user), "-m", "tests.seal.captive", *arguments], cwd=CHECKOUT, capture_output=True, text=True,
        timeout=60, check=False, **identity,
    )  # fmt: skip
    assert ended.returncode == 0, f"{ended.stdout}{ended.stderr}"
    return json.loads(ended.stdout)


@cache
def python(user: int | None) -> str:
    """An interpreter that this user may run: ours may lie in somebody's home. The seal needs no installed package."""
    if user is None:
        return sys.executable
    version = "import sys; sys.exit(sys.version_info < (3, 11))"
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        with suppress(OSError):
            if subprocess.run([candidate, "-c", version], cwd=CHECKOUT, user=user, check=False).returncode == 0:
                return candidate
    pytest.skip(f"user {user} can run no Python 3.11 or newer here")


def users() -> list[int | None]:
    """Whoever we are; and, when that is root, an ordinary user too."""
    return [None, NOBODY] if ROOT else [None]
