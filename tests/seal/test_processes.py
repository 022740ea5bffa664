"""What a process gives up, what it must not hold, and what it says where something can't be enforced."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

import pytest

from tests.seal.experiments import CHECKOUT, run, users

USERS = pytest.mark.parametrize("user", users(), ids=lambda user: "ordinary-user" if user else "as-is")


@USERS
@pytest.mark.parametrize("profile", ["gate", "worker", "engine"])
def test_powers_are_gone(profile: str, user: int | None) -> None:
    found = run("given_up", profile, user=user)
    assert [found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [0] * 4
    assert (found["NoNewPrivs"], found["Seccomp"], found["core"], found["dumpable"]) == (1, 2, [0, 0], 0)
    if user is None:
        assert found["CapBnd"] == 0 or found["CapEff"] == 0


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("pair", "sealed2"),
        ("announced", "sealed"),
        ("listener", "a socket (AF_INET) that nobody announced"),
        ("named", "a socket (AF_UNIX) that nobody announced"),
    ],
)
def test_unexpected_sockets_stop_it(what: str, answer: str) -> None:
    assert answer in run("holding", what)


def test_a_second_thread_stops_it() -> None:
    assert run("threads") == "the process has 2 threads; it can be sealed only while it has one"


def test_an_event_loop_from_after_stage_0_lives_on() -> None:
    assert run("stage_0_and_uvloop") == "threads and timers work"


@pytest.mark.parametrize(
    ("hidden", "lacks", "note"),
    [
        (["landlock_create_ruleset"], "landlock", "no landlock: this kernel has none, or it is switched off or hidden"),
        (["unshare"], "netns", "no netns: CAP_SYS_ADMIN is missing, and user namespaces are refused: Operation"),
        (["seccomp"], "seccomp", "no seccomp: Operation not permitted"),
    ],
)
def test_what_a_container_hides_is_said(hidden: list[str], lacks: str, note: str) -> None:
    found = run("without", *hidden)
    assert lacks not in found["installed"]
    assert any(line.startswith(note) for line in found["notes"])


def test_an_unknown_machine_is_said() -> None:
    found = run("strange_machine")
    assert (found["installed"], found["attempts"]) == ([], [])
    assert found["notes"] == ["no seal for riscv64: only 64-bit x86_64 and aarch64 are known"]


def launch(*arguments: str, hide: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-m", "router.seal", *arguments]
    if hide:
        command = [sys.executable, "-m", "tests.seal.captive", "hidden_from", hide, *command]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)


def test_the_launcher_becomes_its_command_in_the_cage() -> None:
    probe = "import socket, os; print(sorted(os.listdir('/proc/self/fd'))); socket.socket()"
    ended = launch("--profile", "engine", "--", sys.executable, "-I", "-c", probe)
    assert ended.stdout == "['0', '1', '2', '3']\n"
    assert "PermissionError: [Errno 1] Operation not permitted" in ended.stderr


def test_the_launcher_refuses_below_what_is_required() -> None:
    ended = launch("--profile", "engine", "--require", "netns", "--", sys.executable, "-c", "print(1)", hide="unshare")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == (
        "router.seal: the engine's seal lacks netns, which require_seal asks for (no netns: CAP_SYS_ADMIN is missing, "
        "and user namespaces are refused: Operation not permitted). Run 'ringfence doctor' here, or ask for less.\n"
    )


def test_the_launcher_refuses_an_unannounced_socket() -> None:
    with socket.socket() as held:
        ended = subprocess.run(
            [sys.executable, "-I", "-m", "router.seal", "--profile", "engine", "--", sys.executable, "-c", "print(1)"],
            pass_fds=(held.fileno(),), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert ended.returncode == 3
    assert "the engine is not sealed: descriptor" in ended.stderr


def test_the_launcher_makes_what_may_be_written_and_nothing_else(tmp_path: Any) -> None:
    state, beside = tmp_path / "state", tmp_path / "beside"
    write = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('x')"
    for place in (state / "file", beside):
        ended = launch(
            "--profile", "engine", "--write", str(state), "--", sys.executable, "-I", "-c", write, str(place)
        )
        assert place.exists() == (ended.returncode == 0) == (place != beside)


def test_the_attestation_is_content_free() -> None:
    """Names of variables, not their values; names and digests of .pth files, nothing of ours."""
    ended = subprocess.run(
        [sys.executable, "-I", "-m", "router.seal", "--profile", "worker"],
        env={"SECRET_NAME": "canary-value"}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "canary-value" not in ended.stdout
    assert json.loads(ended.stdout)["environment"] == ["SECRET_NAME"]
