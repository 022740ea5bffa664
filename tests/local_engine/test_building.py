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


CANNOT_CONFIGURE_EYES = """#!/bin/sh
case "$*" in *--target*) echo "$4" >> "$2/bin/built"; exit 0;; esac
mkdir -p "$6/bin"
case "$*" in *-DLLAMA_BUILD_MTMD=OFF*-DCMAKE_PROJECT_llama.cpp_INCLUDE=) ;; *) echo no such directory; exit 1;; esac
"""


@pytest.mark.parametrize(("target", "built"), [("mtmd", "llama"), ("ggml-cpu", "ggml-cpu")])
def test_an_engine_whose_eyes_cannot_be_configured_is_built_without(
    target: str, built: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    set_up(tmp_path, "", monkeypatch)
    (tmp_path / "bin" / "cmake").write_text(CANNOT_CONFIGURE_EYES)
    folder = build_engine.compile_libraries("native", tmp_path, target, ())
    assert (folder / "built").read_text() == f"{built}\n"
    told = capfd.readouterr()
    assert "it will read no pictures" in told.out
    assert "no such directory" in told.err


def test_without_the_library_itself_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    set_up(tmp_path, "ggml-cpu", monkeypatch)
    with pytest.raises(SystemExit, match="safe library failed"):
        build_engine.compile_libraries("safe", tmp_path, "ggml-cpu", ())
    assert "no memory left" in capfd.readouterr().err
