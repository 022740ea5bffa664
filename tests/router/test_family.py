"""Who is below a process, however its parents come and go."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from router.supervisor import family, orders
from tests.fakes import hidden, orphans, reused


def _has_peer_pidfd() -> bool:
    return tuple(int(part) for part in os.uname().release.split(".")[:2] if part.isdigit()) >= (6, 5)


def test_nobody_below_is_a_stranger_while_its_parent_dies(tmp_path: Path) -> None:
    """A walk down the tree took most of them for strangers: they had moved to where it had looked already."""
    command = [sys.executable, "-m", orphans.__name__, str(tmp_path / "s")]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (run.stdout.split(), run.stderr, run.returncode) == (["0"], "", -signal.SIGKILL)


@pytest.mark.parametrize(
    ("parents", "own", "stranger"),
    [
        ({9: 8, 8: 5}, 5, False),
        ({9: 8, 8: 1}, 5, True),
        ({9: 0}, 5, True),  # entered our PID namespace from outside
        ({9: 8}, 5, False),  # 8 is gone
        ({}, 9, False),
        ({9: 8, 8: 1}, 1, False),  # we are the first process of a container
        ({9: 0}, 1, True),  # docker exec
    ],
)
def test_who_gives_orders(
    parents: dict[int, int], own: int, *, stranger: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parent(pid: int) -> int:
        if pid not in parents:
            raise FileNotFoundError
        return parents[pid]

    monkeypatch.setattr(family, "parent", parent)
    monkeypatch.setattr(os, "getpid", lambda: own)
    monkeypatch.setattr(orders, "_PEER_PIDFD", 9999)  # who really asks is ourselves
    ours, theirs = socket.socketpair()
    with ours, theirs:
        monkeypatch.setattr(orders, "_CREDENTIALS", _Says(9))
        assert (orders.refusal(ours) == "") is stranger
        monkeypatch.setattr(orders, "_CREDENTIALS", _Says(0))
        assert orders.refusal(ours) == orders.UNSEEN


@pytest.mark.parametrize(
    ("asks", "own", "refused"),
    [
        (0, 1000, ""),  # root's, whether we see it or not: nothing below us becomes root
        (1001, 1000, orders.NOT_THE_OWNER),
        (1001, 0, orders.NOT_THE_OWNER),
        (1000, 1000, orders.UNSEEN),
    ],
)
def test_whose_orders_are_taken(asks: int, own: int, refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: own)
    monkeypatch.setattr(orders, "_CREDENTIALS", _Says(2**22 + 1, asks))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert orders.refusal(ours) == refused


@pytest.mark.skipif(os.getuid() != 0, reason="mounts /proc anew and becomes another user: needs root")
def test_where_processes_are_hidden_root_gives_orders_and_others_are_told_why() -> None:
    """A real mount of /proc with hidepid, and a service of another user than root."""
    run = subprocess.run(
        ["unshare", "--mount", sys.executable, "-m", hidden.__name__], capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    if "cannot mount" in run.stdout:
        pytest.skip(f"/proc cannot be mounted here: {run.stdout}")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [
        "root:", f"the owner, started by root: {orders.UNSEEN}", f"a program of the service: {orders.NOT_THE_OWNER}",
    ]  # fmt: skip


@pytest.mark.skipif(not _has_peer_pidfd(), reason="this kernel is older than 6.5: it has no SO_PEERPIDFD")
@pytest.mark.skipif(os.getuid() != 0, reason="makes a PID namespace and chooses numbers in it: needs root")
def test_a_stranger_with_the_number_of_a_program_that_is_gone_does_not_speak_for_it(tmp_path: Path) -> None:
    run = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", reused.__name__, str(tmp_path / "s")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if run.returncode and "unshare" in run.stderr:
        pytest.skip(f"no PID namespace can be made here: {run.stderr}")
    assert (run.stdout.splitlines(), run.stderr, run.returncode) == (["True", orders.UNSEEN], "", 0)


def test_where_the_kernel_cannot_say_the_number_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "_PEER_PIDFD", 9999)  # as kernels before 6.5 answer for SO_PEERPIDFD: ENOPROTOOPT
    ours, theirs = socket.socketpair()
    with ours, theirs:
        monkeypatch.setattr(orders, "is_below", lambda _pid, _own: False)
        assert orders.refusal(ours) == ""
        with _Gone() as gone:
            assert orders.refusal(gone) == orders.UNSEEN


class _Gone(socket.socket):
    """Whoever connected is gone, as the kernel says it (ESRCH)."""

    def getsockopt(self, _level: int, option: int, _size: int = 0) -> bytes:  # type: ignore[override]  # one of its forms
        if option == socket.SO_PEERCRED:
            return struct.pack("3i", os.getpid(), os.getuid(), os.getgid())
        raise ProcessLookupError(errno.ESRCH, "No such process")


class _Says:
    size = 12

    def __init__(self, pid: int, uid: int | None = None) -> None:
        self._pid = pid
        self._uid = os.getuid() if uid is None else uid

    def unpack(self, _: bytes) -> tuple[int, int, int]:
        return self._pid, self._uid, 0


def test_the_parent_is_the_kernels_word() -> None:
    assert family.parent(os.getpid()) == os.getppid()
    with pytest.raises(OSError, match="No such file"):
        family.parent(2**22 + 1)  # beyond the largest PID
