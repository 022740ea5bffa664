"""`ringfence doctor`."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from router.cli.doctor import described, doctor
from router.seal.attestation import Attempt, Attestation, Part, Result

app = typer.Typer()
app.command()(doctor)


def test_it_says_what_holds_here() -> None:
    answer = CliRunner().invoke(app, [])
    assert answer.exit_code == 0
    lines = answer.stdout.splitlines()
    assert lines[0].startswith("Linux ")
    assert [line.partition(":")[0] for line in lines[1:] if "attacks refused" in line] == [
        "gate",
        "worker",
        "engine",
        "program",
    ]


def test_it_speaks_json() -> None:
    rows = json.loads(CliRunner().invoke(app, ["--json"]).stdout)["seals"]
    assert [row["profile"] for row in rows] == ["gate", "worker", "engine", "program"]
    assert all("seccomp" in row["seal"] and row["attempts"] for row in rows)


def test_what_got_through_and_what_is_missing_is_shown() -> None:
    attempts = (
        Attempt("E9_inet", Part.SECCOMP, Result.ESCAPED),
        Attempt("bind", Part.SECCOMP, Result.BLOCKED, "EPERM"),
    )
    found = Attestation("worker", 1, "x86_64", "6.1", 0, (Part.SECCOMP,), attempts, ("no landlock: none here",))
    assert described(found) == [
        "worker: none; 1 of 2 attacks refused",
        "  escaped: E9_inet",
        "  no landlock: none here",
    ]


def test_what_cannot_be_examined_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    run = subprocess.run

    def broken(command: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        if "router.seal" not in command:  # the machine is looked at by programs of its own
            return run(command, **options)
        return subprocess.CompletedProcess([], 3, "", "router.seal: no\n")

    monkeypatch.setattr(subprocess, "run", broken)
    answer = CliRunner().invoke(app, [])
    assert (answer.exit_code, answer.stderr) == (2, "The gate could not be examined: router.seal: no\n")
