"""The real service under the seal: it serves, it says so, and it does not start below what is required."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conversations import CHAT, GOOD_TEXT, chat, policy, wait_until_ready
from tests.fakes.running import fake_upstream
from tests.seal.experiments import CHECKOUT
from tests.service import RINGFENCE, Service, environment, running, until


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with fake_upstream() as one, fake_upstream() as two:
        text = policy(one, two, more="require_seal: seccomp\n")
        with running(tmp_path_factory.mktemp("sealed"), text) as started:
            wait_until_ready(started)
            until(lambda: all(row["seal"] for row in started.rows().values()), 20, "every process sealed")
            until(lambda: len(started.records("enforcement")) >= len(started.rows()), 20, "every seal recorded")
            yield started


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_a_sealed_worker_serves_through_a_sealed_gate(service: Service) -> None:
    assert service.post(CHAT, chat()).json()["choices"][0]["message"]["content"] == GOOD_TEXT
    for pid in service.pids().values():
        found = status(pid)
        assert (found["Seccomp"], found["NoNewPrivs"], int(found["CapEff"], 16)) == ("2", "1", 0)


def test_nothing_of_the_tree_dumps_core(service: Service) -> None:
    """The supervisor holds the upstreams' keys."""
    for pid in (service.process.pid, *service.pids().values()):
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), pid


def test_health_says_what_holds_each_process(service: Service) -> None:
    rows = service.rows()
    assert set(rows) == {"gate", *(name for name in rows if name.startswith("worker-"))}
    assert all("seccomp" in row["seal"].split("+") for row in rows.values())


def test_the_ledger_has_every_seal(service: Service) -> None:
    recorded = {record["body"]["process"]: record["body"] for record in service.records("enforcement")}
    assert set(recorded) == set(service.rows())
    for name, body in recorded.items():
        assert "E5_ring_setup" in body["passed"]
        assert body["failed"] == []
        assert body["pid"] == service.pids()[name]
        assert (body["kernel"], body["machine"]) == (os.uname().release, os.uname().machine)
        assert body["landlock"] >= 0
        assert all(len(row.split()[-1]) == 64 for row in body["path_files"])
        assert {type(body[field]) for field in ("notes", "environment", "path_files")} == {list}


def test_the_log_has_every_seal(service: Service) -> None:
    assert service.log().count('"event":"sealed"') == len(service.rows())


def test_a_new_worker_and_a_new_gate_are_sealed_and_recorded(service: Service) -> None:
    """A new gate records the seals of all that live; a new worker's comes by itself."""
    before = len(service.records("enforcement"))
    service.kill("gate")
    wait_until_ready(service)
    processes = len(service.rows())
    until(lambda: len(service.records("enforcement")) == before + processes, 10, "every seal in the new gate's ledger")
    service.kill("worker-0")
    until(lambda: len(service.records("enforcement")) == before + processes + 1, 10, "the new worker's seal")


def test_nothing_starts_below_what_is_required(tmp_path: Path) -> None:
    """As in a container that hides Landlock."""
    (tmp_path / "policy.yaml").write_text("version: 1\nrequire_seal: landlock\n")
    hidden = [sys.executable, "-m", "tests.seal.captive", "hidden_from", "landlock_create_ruleset"]
    ended = subprocess.run(
        [*hidden, sys.executable, str(RINGFENCE), "serve", "--port", "0", "--config", str(tmp_path / "policy.yaml")],
        cwd=CHECKOUT, env=environment(RINGFENCE_AUDIT_DIRECTORY=str(tmp_path / "ledger")), capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert "seal lacks landlock, which require_seal asks for (no landlock: " in ended.stderr
    assert "Traceback" not in ended.stderr
