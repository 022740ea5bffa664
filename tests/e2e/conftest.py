"""Two fakes and one service in front of them, one set for each module; every test begins with all of them well.

A module may add to the policy by `POLICY` and change the tiers' `TIMEOUTS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conversations import QUICK, policy, wait_until_ready
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, running


@pytest.fixture
def fake() -> Iterator[Fake]:
    """One upstream, for a test that starts its own service."""
    with fake_upstream() as one:
        yield one


@dataclass(frozen=True)
class Town:
    """A service with two tiers; `one` stands before `two`."""

    service: Service
    one: Fake
    two: Fake


@pytest.fixture(scope="module")
def built_town(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Town]:
    directory: Path = tmp_path_factory.mktemp("town")
    more: str = getattr(request.module, "POLICY", "")
    timeouts: str = getattr(request.module, "TIMEOUTS", QUICK)
    with fake_upstream() as one, fake_upstream() as two:
        with running(directory, policy(one, two, timeouts=timeouts, more=more)) as service:
            yield Town(service, one, two)


@pytest.fixture
def town(built_town: Town) -> Iterator[Town]:
    """The module's town, healed; what the service logs meanwhile is shown if the test fails."""
    built_town.one.reset()
    built_town.two.reset()
    wait_until_ready(built_town.service)
    before = len(built_town.service.log())
    yield built_town
    print(built_town.service.log()[before:])
