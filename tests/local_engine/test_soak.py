"""The short form of `make soak-engine`."""

from __future__ import annotations

from tests.local_engine import soak
from tests.local_engine.conftest import Child


async def test_requests_of_all_kinds_and_clients_that_leave(shared: Child) -> None:
    tally = await soak.run(shared, requests=80, clients=10, seed=7)
    assert not soak.verdict(tally)
    assert sum(tally.endings.values()) == 80
    assert min(tally.endings[ending] for ending in ("whole", "left", "refused")) > 3
    assert shared.process.poll() is None
