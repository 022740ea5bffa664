"""How many descriptors there are, and which of them nobody gets."""

from __future__ import annotations

import subprocess
import sys

import pytest

from router.descriptors import KEPT_BACK, MOST, Descriptors

TOLD = "import resource, router.descriptors as d; print(d.take_all().limit, resource.getrlimit(resource.RLIMIT_NOFILE))"


@pytest.mark.parametrize(
    ("limit", "newest", "short"),
    [
        (1000, 1000 - KEPT_BACK - 1, False),
        (1000, 1000 - KEPT_BACK, True),
        (100, 74, False),
        (100, 75, True),
        (MOST, 100_000, False),
        (100, -1, False),
    ],
)
def test_the_last_ones_are_kept_back(limit: int, newest: int, *, short: bool) -> None:
    assert Descriptors(limit).short(newest) is short


@pytest.mark.parametrize(("soft", "hard", "told"), [(200, 300, "300 (300, 300)"), (300, 300, "300 (300, 300)")])
def test_the_soft_limit_is_raised_to_the_hard_one(soft: int, hard: int, told: str) -> None:
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); {TOLD}"
    run = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == told


def test_what_the_kernel_does_not_give_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    from router import descriptors  # noqa: PLC0415 - its `resource` is replaced

    class Stingy:
        RLIMIT_NOFILE, RLIM_INFINITY = 7, -1

        @staticmethod
        def getrlimit(_: int) -> tuple[int, int]:
            return 1024, -1

        @staticmethod
        def setrlimit(_: int, __: tuple[int, int]) -> None:
            raise PermissionError

    monkeypatch.setattr(descriptors, "resource", Stingy)
    assert descriptors.take_all() == Descriptors(1024)
