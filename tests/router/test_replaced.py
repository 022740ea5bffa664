"""An upgrade under a running service: whoever reads the log learns why half of it is of another version."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from router.logs import Log
from router.supervisor.child import Child, Program, Watcher
from router.supervisor.replaced import FILE, Files


def said(capfd: pytest.CaptureFixture[str]) -> list[str]:
    rows = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    return [row["state"] for row in rows if row["event"] == "program_replaced"]


def test_files_that_were_replaced_or_are_gone_are_told_of(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "__init__.py"
    file.write_text("1")
    files = Files(Log("supervisor"), file)
    files.look("gate")
    assert said(capfd) == []
    file.rename(tmp_path / "old")
    files.look("worker-0")
    file.write_text("1")
    files.look("worker-1")
    assert said(capfd) == ["worker-0", "worker-1"]


async def test_each_process_that_starts_is_looked_at(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert FILE.is_file()
    watcher = cast("Watcher", SimpleNamespace(started=lambda _: None, changed=lambda: None))
    child = Child(Program("engine-small", lambda _: ["/bin/true"], controlled=False), {}, Log("supervisor"), watcher)
    child._files = Files(Log("supervisor"), tmp_path / "none")
    (tmp_path / "none").touch()
    async with asyncio.timeout(20):
        assert await child._live() == 0
    assert said(capfd) == ["engine-small"]
