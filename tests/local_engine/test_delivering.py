"""Events of many requests come from the engine together: one that cannot be delivered keeps none from the others."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from local_engine.service import _deliver


def test_the_others_get_theirs(caplog: pytest.LogCaptureFixture) -> None:
    got: list[Any] = []

    def mistaken(_: object) -> None:
        raise LookupError

    with caplog.at_level(logging.ERROR, "local_engine"):
        _deliver(cast("Any", [(got.append, 1), (mistaken, 2), (got.append, 3)]))
    assert got == [1, 3]
    assert [record.getMessage() for record in caplog.records] == ["an event was not delivered"]
