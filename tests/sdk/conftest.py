"""One service with a key, before one fake; the clients know its base URL and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.conversations import policy, wait_until_ready
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, ringfence, running


@dataclass(frozen=True)
class Shop:
    """A running service, what stands behind it, and a caller's key."""

    service: Service
    fake: Fake
    key: str

    @property
    def base_url(self) -> str:
        return self.service.url + "/v1"


@pytest.fixture(scope="module")
def built_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    directory = tmp_path_factory.mktemp("shop")
    key = ringfence(directory, "keys", "create", "app").stdout.strip()
    with fake_upstream() as fake, running(directory, policy(fake, more="callers: {file: keys.yaml}\n")) as service:
        yield Shop(service, fake, key)


@pytest.fixture
def shop(built_shop: Shop) -> Shop:
    built_shop.fake.reset()
    wait_until_ready(built_shop.service)
    return built_shop
