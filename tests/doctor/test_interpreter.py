"""Which build of Python runs: never called unoptimised unless it is known to be."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from router.cli.interpreter import Interpreter, newer, of_distribution, recorded_flags, this_interpreter, verdict

PYENV = "'--prefix=/opt/pyenv/versions/3.11.7' '--enable-shared'"
PLAIN = "GNU C11 12.2.0 -mtune=generic -march=x86-64 -g -O3 -std=c11 -fwrapv"
BUILDS: dict[str, tuple[dict[str, str | None], str, bool | None]] = {
    "pyenv as it is": ({"CONFIG_ARGS": PYENV}, PLAIN, False),
    "pyenv, told to": ({"CONFIG_ARGS": f"{PYENV} '--enable-optimizations' '--with-lto'"}, PLAIN, True),
    "docker, stripped": ({"CONFIG_ARGS": "'--enable-loadable-sqlite-extensions' '--enable-optimizations'"}, "", True),
    "make profile-opt by hand": ({"CONFIG_ARGS": PYENV}, f"{PLAIN} -fprofile-use -fprofile-correction", True),
    "clang's profile": ({"CONFIG_ARGS": PYENV, "PY_CORE_CFLAGS": "-O3 -fprofile-instr-use=code.profclangd"}, "", True),
    "stripped": ({"CONFIG_ARGS": PYENV}, "", None),
    "nothing written down": ({}, "", None),
    "no arguments, with debug information": ({"CONFIG_ARGS": None}, PLAIN, False),
}


@pytest.mark.parametrize("build", BUILDS)
def test_a_build_is_judged_by_what_it_says_of_itself(build: str) -> None:
    variables, recorded, optimised = BUILDS[build]
    assert verdict(variables, recorded)[0] is optimised


@pytest.mark.parametrize(
    ("names", "optimised"),
    [(["debian"], True), (["mint", "ubuntu", "debian"], True), (["rocky", "rhel", "centos", "fedora"], True),
     (["gentoo"], None), ([], None)],
)  # fmt: skip
def test_a_distributions_own_is_trusted_where_it_is_known(names: list[str], optimised: bool | None) -> None:
    assert of_distribution(names)[0] is optimised


@pytest.mark.parametrize("optimised", [True, False, None])
def test_advice_is_given_for_what_is_known_to_be_slow_alone(optimised: bool | None) -> None:
    said = "\n".join(Interpreter("3.11.7", "GCC 12.2.0", optimised, "because").lines())
    assert said.startswith("Python 3.11.7 (GCC 12.2.0): ")
    assert ("PYTHON=/usr/bin/python3" in said) is (optimised is False)


def test_a_newer_one_is_named_where_it_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert newer(11) == ""
    shim = tmp_path / "python3.14"  # pyenv puts one for a version that is not chosen here: it fails
    for name, body in (("python3.13", "exit 0"), ("python3.14", "exit 127")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    assert newer(11) == newer(12) == "python3.13"
    assert newer(13) == ""
    shim.write_text("#!/bin/sh\nexit 0\n")
    assert newer(11) == newer(13) == "python3.14"
    assert newer(14) == newer(15) == ""
    said = Interpreter("3.11.2", "GCC 12.2.0", optimised=True, why="because", newer="python3.14").lines()
    assert len(said) == 2
    assert "make clean && make serve PYTHON=python3.14" in said[1]


def test_the_systems_own_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "debian"})
    assert this_interpreter().optimised is True

    def none() -> dict[str, str]:
        raise OSError

    monkeypatch.setattr(platform, "freedesktop_os_release", none)
    assert this_interpreter().optimised is None


def test_another_is_read_from_its_binary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libpython.so").write_bytes(b"\0" + PLAIN.encode() + b"\0")
    variables = {"CONFIG_ARGS": PYENV, "Py_ENABLE_SHARED": 1, "LIBDIR": str(tmp_path), "INSTSONAME": "libpython.so"}
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_config_vars", lambda: variables)
    assert this_interpreter().optimised is False
    monkeypatch.setattr(sys, "executable", str(tmp_path / "libpython.so"))
    variables["Py_ENABLE_SHARED"] = 0
    assert this_interpreter().optimised is False


def test_flags_are_read_from_what_a_compiler_made(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc: the set-up needs one, a wheel does not")
    source, made = tmp_path / "a.c", tmp_path / "a.so"
    source.write_text("int one(void) { return 1; }")
    subprocess.run([compiler, "-g", "-gno-record-gcc-switches", "-shared", "-o", made, source], check=True)
    assert "-fprofile-use" not in recorded_flags(made)
    subprocess.run([compiler, "-g", "-O2", "-fprofile-use", "-Wno-missing-profile", "-shared", "-o", made, source],
                   check=True)  # fmt: skip
    assert "-fprofile-use" in recorded_flags(made)


def test_what_cannot_be_read_tells_nothing(tmp_path: Path) -> None:
    assert recorded_flags(tmp_path / "none") == ""
    (tmp_path / "empty").touch()
    assert recorded_flags(tmp_path / "empty") == ""
