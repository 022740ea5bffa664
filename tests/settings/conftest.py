"""Settings files as operators write them, on a real disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from router.settings.findings import Finding, SettingsError
from router.settings.flags import Flags
from router.settings.load import Loaded, load_whole

Write = Callable[[str], Path]
Refused = Callable[..., list[str]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a tier policy file."""

    def _write(text: str) -> Path:
        path = tmp_path / "tiers.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def taken(path: Path | None = None, variables: dict[str, str] | None = None, flags: Flags | None = None) -> Loaded:
    """Settings that must be good."""
    return load_whole(path, variables or {}, flags)


def refused(
    path: Path | None = None, variables: dict[str, str] | None = None, flags: Flags | None = None
) -> tuple[Finding, ...]:
    """The findings of settings that must not be."""
    with pytest.raises(SettingsError) as caught:
        load_whole(path, variables or {}, flags)
    assert caught.value.findings
    return caught.value.findings


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Root reads everything, so be somebody else for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
