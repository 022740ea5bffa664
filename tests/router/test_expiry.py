"""Certificates that end are told of in time, and again until they are renewed."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from router import expiry
from router.logs import Log

NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (0.0, ""),
        (NOW + 15 * DAY, ""),
        (NOW + 13 * DAY, "ends on 2027-01-28 08:00 UTC"),
        (NOW + 1, "ends on 2027-01-15 08:00 UTC"),
        (NOW - DAY, "ended on 2027-01-14 08:00 UTC"),
    ],
)
def test_what_is_said_of_it(ends: float, words: str) -> None:
    assert expiry.ending(ends, NOW) == words


async def test_whoever_ends_soon_is_told_of(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(expiry, "FIRST_S", 0.0)
    looked = asyncio.Event()

    def known() -> list[tuple[str, float]]:
        asyncio.get_running_loop().call_soon(looked.set)
        return [("the upstream 'gpu-1'", time.time() + DAY), ("'listen.tls'", time.time() + 90 * DAY)]

    telling = asyncio.create_task(expiry.tell(known, Log("test")))
    async with asyncio.timeout(10):
        await looked.wait()
    telling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await telling
    [line] = capfd.readouterr().err.splitlines()
    assert "certificate_ends_soon" in line
    assert "the upstream 'gpu-1' ends on" in line
