"""The short form of `make soak-engine`."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.local_engine import soak
from tests.local_engine.conftest import Child


async def test_requests_of_all_kinds_and_clients_that_leave(shared: Child) -> None:
    tally = await soak.run(shared, requests=80, clients=10, seed=7)
    assert not soak.verdict(tally)
    assert sum(tally.endings.values()) == 80
    assert min(tally.endings[ending] for ending in ("whole", "left", "refused")) > 3
    assert shared.process.poll() is None


@pytest.mark.parametrize(
    ("requests", "grown", "bad"), [(150, 71, False), (150, 72, True), (10_000, 24, False), (10_000, 25, True)]
)
def test_memory_may_grow_by_what_is_swapped_out_and_a_little(requests: int, grown: int, bad: bool) -> None:
    tally = soak.Tally(Counter(whole=requests), memory=[300.0] * 40 + [300.0 + grown])
    assert bool(soak.verdict(tally)) == bad
