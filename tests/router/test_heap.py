"""The heap keeps what some bodies need, and no more."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys

import pytest

from router.heap import KEPT, LARGE, keep_heap

CHURN = """
import json, resource, sys
from pathlib import Path
from router.heap import keep_heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

def churn(blocks, size):
    held = [bytes(size) for _ in range(blocks)]

if sys.argv[1] == "kept":
    assert keep_heap()
churn(20, 100_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    churn(20, 100_000)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
least = resident()
churn(1, 20_000_000)
churn(600, 100_000)
print(json.dumps([faults, resident() - least]))
"""

gnu = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not GNU's")


def churned(how: str) -> tuple[int, int]:
    """Page faults of bodies that come and go; bytes that stay when 60 MB of them are gone."""
    ran = subprocess.run([sys.executable, "-c", CHURN, how], capture_output=True, check=True, timeout=60)
    faults, left = json.loads(ran.stdout)
    return faults, left


@gnu
def test_bodies_that_come_and_go_fault_in_no_pages() -> None:
    assert churned("kept")[0] < 1000 < churned("as it comes")[0]  # it would be 10,000 pages


@gnu
def test_what_many_bodies_needed_is_given_back() -> None:
    assert churned("kept")[1] <= KEPT + LARGE


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not keep_heap()
