"""What set-up does where something cannot be compiled: the real steps, with a program in CMake's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import build_engine

CMAKE = """#!/bin/sh
case "$*" in *"--target {broken}") echo no memory left; exit 1;; *--target*) echo "$4" >> "$2/bin/built";; esac
case "$*" in -G*) mkdir -p "$6/bin";; esac
"""


def set_up(folder: Path, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cmake = folder / "bin" / "cmake"
    cmake.parent.mkdir()
    cmake.write_text(CMAKE.format(broken=broken))
    cmake.chmod(0o755)
    monkeypatch.setattr(build_engine, "VENV", folder)
    monkeypatch.setattr(build_engine, "SCRATCH", folder)


def test_an_engine_without_eyes_is_better_than_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    set_up(tmp_path, "mtmd", monkeypatch)
    built = build_engine.compile_libraries("native", tmp_path, "mtmd", ())
    assert (built / "built").read_text() == "llama\n"
    told = capfd.readouterr()
    assert "it will read no pictures" in told.out
    assert "no memory left" in told.err


def test_without_the_library_itself_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    set_up(tmp_path, "ggml-cpu", monkeypatch)
    with pytest.raises(SystemExit, match="safe library failed"):
        build_engine.compile_libraries("safe", tmp_path, "ggml-cpu", ())
    assert "no memory left" in capfd.readouterr().err
