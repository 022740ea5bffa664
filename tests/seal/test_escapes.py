"""Every escape of docs/threat-model.md: it works without the seal, so it can be told, and not with it."""

from __future__ import annotations

import platform
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from router.seal.attack import ATTACKS, Attack
from router.seal.attestation import Part
from router.seal.profiles import Profile
from tests.seal.experiments import CHECKOUT, NOBODY, ROOT, python, run, users

CAPTIVE = [sys.executable, "-m", "tests.seal.captive", "foreign_call"]

# What a kernel may refuse, or not have, without any seal of ours; everything else must be seen to work unsealed.
MAY_FAIL_ANYWAY = {"E9_ping", "E9_vsock", "E9_alg", "E9_xdp", "E9_mptcp", "init_module", "keyctl", "userfaultfd", "bpf"}
NEEDS_ROOT = {"E9_raw", "E9_packet", "bind_to_device", "mount", "perf_event_open", "write_code"}


@pytest.fixture(scope="module")
def unsealed() -> dict[str, list[str]]:
    answer: dict[str, list[str]] = run("unsealed", "worker")
    return answer


@pytest.fixture(scope="module", params=users(), ids=lambda user: "as-ordinary-user" if user else "as-is")
def sealed(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Profile -> its attestation."""
    return {profile.value: run("sealed", profile.value, user=request.param) for profile in Profile}


@pytest.mark.parametrize("attack", [a for a in ATTACKS if Profile.WORKER in a.profiles], ids=lambda a: a.name)
def test_it_escapes_without_the_seal(attack: Attack, unsealed: dict[str, list[str]]) -> None:
    result, error = unsealed[attack.name]
    if attack.name in MAY_FAIL_ANYWAY and result != "escaped":
        pytest.skip(f"this kernel says {error} by itself")
    if attack.name == "interfaces" and result == "blocked":
        pytest.skip("this machine has no network but its loopback")
    if attack.name in NEEDS_ROOT and not ROOT:
        pytest.skip("needs root to work at all")
    assert result == "escaped", error


@pytest.mark.parametrize("profile", Profile)
def test_it_is_stopped_by_the_seal(profile: Profile, sealed: dict[str, Any]) -> None:
    attestation = sealed[profile.value]
    wanted = {a.name for a in ATTACKS if profile in a.profiles and a.part in attestation["installed"]}
    blocked = {row["name"] for row in attestation["attempts"] if row["result"] == "blocked"}
    assert blocked == wanted, attestation["notes"]


def test_seccomp_works_on_this_machine(sealed: dict[str, Any]) -> None:
    """All the rest may be lacking; without this one the tests above would say nothing."""
    assert all(Part.SECCOMP in attestation["installed"] for attestation in sealed.values())


@pytest.mark.parametrize("sock", ["connected", "accepted", "listener"])
def test_bytes_reach_the_attacker_by_a_held_socket_unless_sealed(sock: str) -> None:
    """E1, E2, E3."""
    assert run("reaim", sock, "unsealed") == ["done", "secret"]
    assert run("reaim", sock, "sealed") == ["EPERM", ""]


def test_a_socket_comes_out_of_a_ring_unless_sealed() -> None:
    """E5: a filter that denies socket(2) alone is passed by IORING_OP_SOCKET."""
    denied, by_ring = run("ring_escape", "narrow")
    assert denied == "EPERM"
    if by_ring in {"ENOSYS", "EPERM"}:
        pytest.skip("this machine has no io_uring to escape by")
    assert by_ring == "done"
    assert run("ring_escape", "sealed") == ["EPERM", "ENOSYS"]


def test_a_ring_from_before_the_seal_is_not_tolerated() -> None:
    """E6, E7: it works past any filter, so there must be none."""
    assert run("ring_before", "yes") == "ENOSYS, sealed"
    without_stage_0 = run("ring_before", "no")
    if without_stage_0.startswith(("ENOSYS", "EPERM")):
        pytest.skip("this machine has no io_uring")
    assert without_stage_0.startswith("done, descriptor ")
    assert "io_uring" in without_stage_0


def test_a_thread_from_before_the_seal_is_held_too() -> None:
    """E8."""
    assert run("other_thread", "one") == "done"
    assert run("other_thread", "every") == "EPERM"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86-64 has foreign calling conventions")
@pytest.mark.parametrize("convention", ["i386", "x32"])
def test_a_foreign_calling_convention_is_death(convention: str) -> None:
    unsealed = subprocess.run([*CAPTIVE, convention, "unsealed"], cwd=CHECKOUT, capture_output=True, check=False)
    if unsealed.returncode == -signal.SIGSEGV:
        pytest.skip("this kernel runs no 32-bit programs")
    assert unsealed.returncode == 0
    sealed = subprocess.run([*CAPTIVE, convention, "sealed"], cwd=CHECKOUT, capture_output=True, check=False)
    assert (sealed.returncode, sealed.stdout) == (-signal.SIGSYS, b"")


def test_a_log_socket_is_reached_by_a_pair_unless_sealed(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(path)
        log.settimeout(5)
        assert run("log_datagram", path, "unsealed") == "done"
        assert log.recv(16) == b"secret"
    assert run("log_datagram", path, "sealed") == "EPERM"


VICTIM = (
    "import sys; from router.seal.process import shut_memory; "
    "[shut_memory() for _ in range(sys.argv[1] == 'shut')]; print('up', flush=True); sys.stdin.read()"
)


@pytest.mark.skipif(not ROOT, reason="needs a second user, so that root's powers do not blur what is seen")
@pytest.mark.parametrize("memory", ["open", "shut"])
def test_a_process_is_robbed_by_its_own_user_unless_its_memory_is_shut(memory: str) -> None:
    """E10."""
    with subprocess.Popen(
        [python(NOBODY), "-c", VICTIM, memory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=NOBODY,
        group=NOBODY, extra_groups=[], cwd=Path(__file__).parents[2],
    ) as victim:  # fmt: skip
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"up\n"
        taken = run("robbed", memory, str(victim.pid), user=NOBODY)
        victim.kill()
    if memory == "open":
        assert taken["pidfd_getfd"] == taken["memory"] == taken["ptrace"] == "done"
    else:
        assert set(taken.values()) <= {"EPERM", "EACCES"}
