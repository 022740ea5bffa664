"""`ringfence prove` on this machine, and every planted leak seen by its witnesses."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from router.audit.format.notes import NoteError, open_note, parse_vkey
from router.prove.stage import CannotProve, entering
from tests.service import RINGFENCE, environment

ROOT = Path(__file__).parents[2]
PATIENCE_S = 230  # an engine is loaded, crashed and loaded again, on a machine that does other work
WHOLE = pytest.mark.timeout(PATIENCE_S + 10)


def _lacking() -> str:
    try:
        entering()
    except CannotProve as error:
        return str(error)
    return ""


LACKING = _lacking()
NEEDS = pytest.mark.skipif(bool(LACKING), reason=f"NOTHING WAS PROVED: {LACKING}")


def planted(kind: str, directory: Path) -> dict[str, Any]:
    command = [*entering(), sys.executable, "-m", "tests.prove.planted", kind, str(directory)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=environment(),
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


HOME = ["198.51.100.7", "tcp", 443]
CAUGHT = [
    ("plain_socket", HOME, 1000),
    ("closed_port", ["198.51.100.7", "tcp", 4444], 0),
    ("http_library", ["203.0.113.66", "tcp", 80], 1000),
    ("datagram", ["198.51.100.7", "udp", 443], 1000),
    ("fast_open", HOME, 1000),
    ("ipv6", ["2001:db8::7", "tcp", 443], 1000),
    ("multipath", HOME, 1000),
    ("event_loop", HOME, 1000),
    ("c_library", HOME, 1000),
    ("ring", HOME, 1000),
    ("other_program", HOME, 7),
]

COMPILED = [("go", ["build"], "leak.go"), ("rustc", ["-O"], "leak.rs")]


@NEEDS
@pytest.mark.parametrize(("kind", "target", "least"), CAUGHT, ids=[row[0] for row in CAUGHT])
def test_a_planted_leak_is_caught_by_both_witnesses(kind: str, target: list[Any], least: int, tmp_path: Path) -> None:
    found = planted(kind, tmp_path)
    if found["code"] == 77:
        pytest.skip(f"this machine has no way out by {kind}")
    assert_caught(found, target, least)


def answers(compiler: str) -> bool:
    """Not every `rustc` on the path is one: rustup's stands for what a user has chosen, which may be nothing."""
    told = "version" if compiler == "go" else "--version"
    return (
        shutil.which(compiler) is not None
        and not subprocess.run([compiler, told], capture_output=True, check=False, env=at_home()).returncode
    )


def at_home(**more: str) -> dict[str, str]:
    return environment(HOME=str(Path.home()), **more)


@NEEDS
@pytest.mark.parametrize(("compiler", "more", "source"), COMPILED, ids=["go", "rust"])
def test_a_compiled_client_of_another_language_is_caught(
    compiler: str, more: list[str], source: str, tmp_path: Path
) -> None:
    """Neither Python nor, in Go, the C library is asked: only the kernel can see it."""
    if not answers(compiler):
        pytest.skip(f"NO LEAK BY {source} WAS TRIED: there is no {compiler} here that works")
    command = [compiler, *more, "-o", str(tmp_path / "leak"), str(Path(__file__).parent / "clients" / source)]
    subprocess.run(
        command, cwd=tmp_path, check=True, timeout=110, capture_output=True,
        env=at_home(GOCACHE=str(tmp_path / "cache"), GO111MODULE="off"),
    )  # fmt: skip
    assert_caught(planted("compiled_client", tmp_path), HOME, 1000)


def assert_caught(found: dict[str, Any], target: list[Any], least: int) -> None:
    """By both witnesses, with its bytes."""
    assert found["code"] == 0
    count = next((row[3] for row in found["seen"] if row[:3] == target), None)
    assert count is not None, found
    assert least <= count < least + 2000
    assert target in found["kernel"]
    assert found["lost"] == 0


@NEEDS
def test_a_name_that_is_looked_up_is_seen_and_silence_is_silence(tmp_path: Path) -> None:
    assert planted("name_only", tmp_path)["asked"] == ["c2VjcmV0.vendor.example"]
    quiet = planted("nothing", tmp_path)
    assert (quiet["seen"], quiet["kernel"], quiet["asked"]) == ([], [], [])


@NEEDS
@WHOLE
def test_a_leak_in_the_middle_of_a_proof_is_no_proof(tmp_path: Path) -> None:
    found = planted("whole", tmp_path)
    assert (found["good"], found["leaks"]) == (False, 1)
    (leak,) = [row for row in found["destinations"] if not row["listed_as"]]
    assert (leak["address"], leak["port"], leak["bytes"]) == ("198.51.100.7", 443, 1000)


@NEEDS
@WHOLE
def test_the_service_is_proved_and_the_report_is_signed_by_its_ledger(tmp_path: Path) -> None:
    done = subprocess.run(
        [RINGFENCE, "prove", "--output", "proof", "--json"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    proof = tmp_path / "proof"
    report = json.loads(done.stdout)
    assert (report["good"], report["leaks"], report["packets_lost"]) == (True, 0, 0)
    assert report["witnesses"] == ["packet socket", "nftables"]
    listed = {row["listed_as"]: row["bytes"] for row in report["destinations"]}
    names = ("first", "second", "named", "table", "later")
    sources = {"model source hub", "model source files"}
    assert listed.keys() == {"the name server", *sources, *(f"upstream {name}" for name in names)}
    assert min(listed.values()) > 0
    assert report["names_asked"] == ["gpu.prove.example"]
    assert len(report["steps"]) > 50
    note = (proof / "report.txt").read_text()
    key = parse_vkey((proof / "ledger" / "log.vkey").read_text())
    text = open_note(note, key)
    assert f"sha256: {hashlib.sha256((proof / 'report.json').read_bytes()).hexdigest()}\n" in text
    with pytest.raises(NoteError):
        open_note(note.replace("leaks: 0", "leaks: 1"), key)


def test_without_the_tools_it_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [RINGFENCE, "prove", "--output", "proof"],
        cwd=tmp_path,
        env=environment(PATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "apt-get install iproute2 mount nftables util-linux" in done.stderr
    assert not (tmp_path / "proof").exists()


@NEEDS
def test_an_older_proof_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "proof").mkdir()
    done = subprocess.run(
        [RINGFENCE, "prove"], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "--output" in done.stderr
