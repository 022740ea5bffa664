"""A plain `ringfence serve` is read without the library of commands, and means the same as with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from router.cli import serve
from router.cli.app import app
from router.cli.straight import straight
from router.settings.flags import Flags

WORDS = ("--config", "--host", "--port", "--workers", "--port=7", "--host=::1", "--config=a=b", "--workers=2", "p.yaml")
ODD = ("1", "007", "1x", "-1", "", "--", "--help", "--prot", "--port=", "--config=--x", "check", "²", "--workers=1 ")


@pytest.mark.parametrize(
    ("line", "config", "flags"),
    [
        ("serve", None, Flags()),
        ("serve --config a.yaml", "a.yaml", Flags()),
        ("serve --port 0 --config=a=b.yaml --workers=2 --host ::1", "a=b.yaml", Flags("::1", 0, 2)),
    ],
)
def test_plain_ones(line: str, config: str | None, flags: Flags) -> None:
    assert straight(line.split()) == (config, flags)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--version serve",
        "--help",
        "check",
        "serve --help",
        "serve policy.yaml",
        "serve --",
        "serve --port",
        "serve --port x",
        "serve --port -1",
        "serve --port=",
        "serve --port 1 --port 2",
        "serve --config --host",
        "serve --prot 1",
        "serve --workers 1e3",
        "serve --port ²",
    ],
)
def test_all_else_is_for_the_library(line: str) -> None:
    assert straight(line.split()) is None


@given(st.lists(st.sampled_from([*WORDS, *ODD]), max_size=5))
def test_what_is_read_straight_means_the_same(words: list[str]) -> None:
    found = straight(["serve", *words])
    if found is None:
        return
    heard: list[tuple[Path | None, Flags]] = []

    def run(config: Path | None, flags: Flags) -> int:
        heard.append((config, flags))
        return 7

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "run", run)
        assert CliRunner().invoke(app, ["serve", *words]).exit_code == 7
    assert heard == [(Path(found[0]) if found[0] is not None else None, found[1])]


@pytest.mark.parametrize("line", ["serve --config no.yaml", "serve --config no.yaml --port 1 --port 2"])
def test_both_ways_say_the_same_of_bad_settings(line: str, tmp_path: Path) -> None:
    """The second line goes by the library: an option is there twice."""
    command = [sys.executable, "-m", "router", *line.split()]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    first, last = ended.stderr.splitlines()
    assert first.startswith("no.yaml:1:1: the file cannot be read: No such file")
    assert last == "Nothing was started: the settings above must be right first."


def test_a_closed_standard_error_is_no_traceback(tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m router serve --config no.yaml 2>&-"
    ended = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", "")
