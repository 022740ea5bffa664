"""Orders find the ledger where `serve` writes it, whatever the working directory and whoever says where it lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.settings.locate import ledger_directory
from tests.settings.conftest import taken

UPSTREAM = "version: 1\nupstreams:\n  g: {url: 'http://10.0.0.1:8000/v1'}\ndefault_model: m\n"


@pytest.mark.parametrize(
    ("said", "variables", "expected"),
    [
        ("", {}, "beside/ledger"),
        ("audit: {durability: group}\n", {}, "beside/ledger"),
        ("audit: {directory: mine}\n", {}, "beside/mine"),
        ("audit: {directory: mine}\n", {"RINGFENCE_AUDIT_DIRECTORY": "theirs"}, "beside/mine"),
        ("", {"RINGFENCE_AUDIT_DIRECTORY": "theirs"}, "working/theirs"),
        (None, {}, "working/ledger"),
        (None, {"RINGFENCE_AUDIT_DIRECTORY": "theirs"}, "working/theirs"),
    ],
)
def test_both_look_in_the_same_place(
    said: str | None, variables: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("beside", "working"):
        (tmp_path / name).mkdir()
    config = tmp_path / "beside" / "policy.yaml" if said is not None else None
    if config is not None:
        config.write_text(UPSTREAM + str(said))
    monkeypatch.chdir(tmp_path / "working")
    served = taken(config, variables).snapshot.audit.directory
    assert Path(served) == ledger_directory(config, variables) == tmp_path / expected
    if config is not None:
        by_variable = {**variables, "RINGFENCE_CONFIG": str(config)}
        assert ledger_directory(None, by_variable) == tmp_path / expected
