"""The set-up finds what a .venv was made with, makes a broken one anew, and says what is missing and what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from router.cli import interpreter
from tools import setup

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def venv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the set-up makes its environment; nothing is there. Its packages are never installed."""
    place = tmp_path / ".venv"
    monkeypatch.setattr(setup, "VENV", place)
    monkeypatch.setattr(setup, "PYTHON", place / "bin" / "python")
    return place


def stub(place: Path, body: str) -> str:
    place.write_text(f"#!/bin/sh\n{body}\n")
    place.chmod(0o755)
    return str(place)


def test_one_that_was_never_finished_is_made_anew(
    venv: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup.made_with() == "", "nothing there"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    assert setup.made_with() == "", "no pip: it was interrupted"
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to(venv / "gone")
    assert setup.made_with() == "", "the Python that it was made with is gone"
    # stands for an interpreter that makes environments with pip, which takes seconds
    makes = f"""[ "$1" = -c ] && exit 0
[ "$*" = "-m venv --clear {venv}" ] || exit 9
rm {venv}/bin/python
printf '#!/bin/sh\\nexec {sys.executable} "$@"\\n' > {venv}/bin/python
chmod +x {venv}/bin/python"""
    monkeypatch.setattr(setup, "missing_tools", list)
    monkeypatch.setattr(setup, "newer", lambda: "python3.99")
    monkeypatch.setattr(sys, "executable", stub(tmp_path / "whole", makes))
    assert setup.create() == setup.made_with() == sys.version
    assert "make clean, then make serve PYTHON=python3.99" in capsys.readouterr().out


def test_a_newer_one_is_named_where_it_makes_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "version_info", SimpleNamespace(major=3, minor=11))
    assert setup.newer() == ""
    stub(tmp_path / "python3.13", "exit 0")
    stub(tmp_path / "python3.14", "exit 1")  # without ensurepip
    assert setup.newer() == "python3.13"
    monkeypatch.setattr(sys, "version_info", SimpleNamespace(major=3, minor=13))
    assert setup.newer() == ""
    assert setup.CHEAPER == interpreter.CHEAPER, "the set-up runs before the package is there: it has a list of its own"


def test_what_is_missing_is_named_with_its_package(venv: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", stub(tmp_path / "bare", "exit 1"))  # Debian's, without ensurepip
    with pytest.raises(SystemExit, match=rf"apt-get install -y .*python{HERE}-venv"):
        setup.create()


def test_a_python_that_makes_no_environment_is_named(
    venv: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(setup, "missing_tools", list)
    monkeypatch.setattr(sys, "executable", stub(tmp_path / "broken", '[ "$1" = -c ]'))
    with pytest.raises(SystemExit, match=r"no environment can be made with .*broken: .* PYTHON="):
        setup.create()


@pytest.mark.parametrize(("version", "stops"), [((3, 10, 9), True), ((3, 11, 0), False), ((3, 14, 2), False)])
def test_what_is_too_old_is_refused(version: tuple[int, ...], stops: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "missing_tools", list)
    monkeypatch.setattr(setup, "venv_works", lambda _: True)
    monkeypatch.setattr(sys, "version_info", version)
    if not stops:
        setup.require_tools()
        return
    with pytest.raises(SystemExit, match=r"Python 3\.11 or newer is needed"):
        setup.require_tools()


def test_one_newer_than_the_locks_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup, "missing_tools", list)
    monkeypatch.setattr(setup, "venv_works", lambda _: True)
    monkeypatch.setattr(sys, "version_info", (*setup.NEWEST, 99))
    setup.require_tools()
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "version_info", (setup.NEWEST[0], setup.NEWEST[1] + 1, 0))
    setup.require_tools()
    assert f"PYTHON=python3.{setup.NEWEST[1]}" in capsys.readouterr().out
