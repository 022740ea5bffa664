"""The launcher of an operator's program: what it holds it to, with a network of its own and without."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from router.seal import namespace
from router.seal.attestation import Attestation, Part, Result
from tests.seal.experiments import CHECKOUT, python, users

SHARED = "shares this machine's network"


def launched(user: int | None, *options: str) -> subprocess.CompletedProcess[str]:
    identity = {"user": user, "group": user, "extra_groups": []} if user is not None else {}
    command = [python(user), "-m", "router.seal", "--profile", "program", *options]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False, **identity)  # type: ignore[call-overload,no-any-return]


def examined(user: int | None, *options: str) -> Attestation:
    ended = launched(user, *options)
    assert ended.returncode == 0, ended.stderr
    return Attestation.from_json(ended.stdout)


@pytest.mark.parametrize("user", users(), ids=lambda user: "as-ordinary-user" if user else "as-is")
def test_in_a_network_of_its_own_nothing_leads_out(user: int | None) -> None:
    found = examined(user, "--own-network")
    if Part.NETNS not in found.parts:
        pytest.skip(f"NO NETWORK OF ITS OWN HERE: {found.notes}")
    assert {attempt.result for attempt in found.attempts} == {Result.BLOCKED}
    assert found.capabilities == 0
    assert not [note for note in found.notes if SHARED in note]
    assert {"tcp_connect", "udp"}.isdisjoint(attempt.name for attempt in found.attempts)


@pytest.mark.skipif(not namespace.interfaces(), reason="this machine has no network but its loopback")
def test_in_the_machines_network_it_opens_no_connection_and_says_so() -> None:
    found = examined(None, "--bind", "9001")
    assert Part.NETNS not in found.parts
    assert any(SHARED in note for note in found.notes)
    blocked = {attempt.name for attempt in found.attempts if attempt.result is Result.BLOCKED}
    assert "udp" in blocked
    if found.landlock >= 4:
        assert "tcp_connect" in blocked
        assert launched(None, "--bind", "9001", "--require", "netns").returncode == 3


def test_what_it_was_given_is_no_attack(tmp_path: Path) -> None:
    names = {attempt.name for attempt in examined(None, "--write", "/tmp", "--read", "/etc").attempts}
    assert {"make_files_tmp", "read_files"}.isdisjoint(names)
    assert launched(None, "--write", str(tmp_path / "made" / "home"), "--", "/bin/true").returncode == 0
    assert (tmp_path / "made" / "home").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("program", "says"), [("/no/such", "No such file"), (os.devnull, "Permission denied")])
def test_a_program_that_cannot_be_run_is_said(program: str, says: str) -> None:
    ended = launched(None, "--", program)
    assert ended.returncode == 126
    assert says in ended.stderr
    assert "not started" in ended.stderr
