"""A sound ledger, and a copy of it to spoil."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.audit.ledgers import build, copy


@pytest.fixture(scope="package")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("good") / "ledger", exchanges=8)


@pytest.fixture
def bad(good: Path, tmp_path: Path) -> Path:
    return copy(good, tmp_path / "bad")
