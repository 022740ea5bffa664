"""Programs behind upstreams that try to break out: of their files, their network, and into the service's hands."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from router.seal.landlock import version
from tests.e2e.test_managed import PATIENT, ROOT, ask, free_port
from tests.networks import NETWORKS
from tests.service import Service, environment, ringfence, running, until

NO_NAMESPACES = (sys.executable, str(ROOT / "tests" / "fakes" / "no_namespaces.py"))
LANDLOCK = pytest.mark.skipif(version() < 6, reason=f"Landlock {version()}: files, TCP and signals are not all fenced")
BY_FILE_RULES = {"passwd", "tmp", "own_code", "read_0", "read_1", "link_0", "link_1", "write_0", "write_1"}
MEASURED = {"own_code"} if any(name.startswith("COVERAGE_") for name in environment()) else set[str]()  # by coverage.py
UNCAGED = {*BY_FILE_RULES, "tcp_loopback", "tcp_own_address", "udp", "signal", "orders"}  # whoever the tests run as


class Prison:
    """What lies around a program, all of it real; and a policy with that program."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.secret = directory / "secret"
        self.secret.write_text("of the same user")
        self.shared = directory / "shared"
        self.shared.mkdir()
        self.out = self.shared / "out"
        self.plan_file = directory / "plan.json"
        self.words: dict[str, Any] = {}

    def command(self, *where: str) -> list[str]:
        first = [sys.executable, "-m", "tests.fakes.breakout", str(self.out), str(self.plan_file), "--then"]
        serve = [sys.executable, "-m", "tests.fakes.model_server", "--name", "thief"]
        return [*first, *serve, "--events", str(self.shared / "events"), *where]

    def policy(self, network: str, more: str = "") -> str:
        if network == "none":
            where, url = ["--socket", "{socket}"], ""
        else:
            where, url = ["--port", "{port}"], f'url: "http://127.0.0.1:{free_port()}/v1", network: loopback, '
        words = json.dumps(self.command(*where))
        cage = f"environment: {{PYTHONPATH: {ROOT}}}, read: [{ROOT}], write: [{self.shared}]"
        upstream = f"  thief: {{{url}command: {words}, {cage}}}"
        tiers = f"  - {{name: only, upstreams: [thief], timeouts: {PATIENT}}}"
        return f"listen: {{workers: 1}}\nupstreams:\n{upstream}\ntiers:\n{tiers}\ndefault_model: thief\n{more}"

    def results(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.out.read_text())
        return found


@contextmanager
def surroundings(prison: Prison, service: Service) -> Iterator[None]:
    """Listeners that would let it in, files that its user may read, and where they are."""
    with ExitStack() as stack:
        loopback = stack.enter_context(socket.create_server(("", 0)))
        run_socket = stack.enter_context(_below_run())
        plan = {
            "port": loopback.getsockname()[1],
            "address": _own_address(),
            "secrets": [str(prison.secret), str(prison.directory / "policy.yaml")],
            "directories": [str(prison.directory), str(prison.directory / "ledger")],
            "orders": str(prison.directory / "ledger-run" / str(service.process.pid) / "orders.sock"),
            "run_socket": run_socket,
            "service": service.process.pid,
        }
        prison.plan_file.write_text(json.dumps(plan))
        yield


@contextmanager
def _below_run() -> Iterator[str]:
    try:
        with tempfile.TemporaryDirectory(dir="/run") as directory, socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"{directory}/s")
            listening.listen()
            yield f"{directory}/s"
    except OSError:
        yield ""  # only root makes one there


def _own_address() -> str:
    """One that is not the loopback's, if this machine has one; no packet is sent by this."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
            found: str = sock.getsockname()[0]
        except OSError:
            return "127.0.0.2"
        return found


@pytest.fixture
def prison(tmp_path: Path) -> Prison:
    return Prison(tmp_path)


@NETWORKS
@LANDLOCK
@pytest.mark.parametrize("network", ["none", "loopback"])
def test_it_gets_out_by_no_way_and_still_serves(network: str, prison: Prison, tmp_path: Path) -> None:
    with running(tmp_path, prison.policy(network)) as service, surroundings(prison, service):
        answer = ask(service, "thief")
        assert answer.status_code == 200, answer.text
        results = prison.results()
        assert {name for name, result in results.items() if result == "escaped"} <= MEASURED, results
        assert len(results) > 25
        row = service.rows()["managed-thief"]
        assert row["seal"] == "seccomp+landlock+netns"
        [record] = [row for row in service.records("enforcement") if row["body"]["process"] == "managed-thief"]
        assert record["body"]["level"] == "netns"
        assert {"tcp_connect", "udp"}.isdisjoint(record["body"]["passed"])  # its network is its own
        service.kill("gate")  # the next one records what holds it, too
        until(lambda: len(_seals(service)) == 2, 20, "said again")
        assert service.verify().returncode == 0


def _seals(service: Service) -> list[dict[str, Any]]:
    return [row for row in service.records("enforcement") if row["body"]["process"] == "managed-thief"]


def test_uncaged_the_same_program_gets_out(prison: Prison, tmp_path: Path) -> None:
    """So that the tests above have something to see."""
    with running(tmp_path, "default_model: m\nupstreams: {u: {url: 'http://127.0.0.1:1/v1'}}\n") as service:
        with surroundings(prison, service):
            environment = {"PYTHONPATH": str(ROOT), "TMPDIR": str(prison.shared)}
            command = [sys.executable, "-m", "tests.fakes.breakout", str(prison.out), str(prison.plan_file)]
            subprocess.run(command, env=environment, check=True, timeout=60)
        results = prison.results()
        escaped = {name for name, result in results.items() if result == "escaped"}
        assert escaped >= UNCAGED, results


@LANDLOCK
def test_without_namespaces_it_opens_no_connection_and_says_what_is_lacking(prison: Prison, tmp_path: Path) -> None:
    with running(tmp_path, prison.policy("loopback"), under=NO_NAMESPACES) as service, surroundings(prison, service):
        answer = ask(service, "thief")
        assert answer.status_code == 200, answer.text
        escaped = [name for name, result in prison.results().items() if result == "escaped"]
        assert set(escaped) <= {"run_socket", *MEASURED}  # which nothing hides here: it is said
        assert service.rows()["managed-thief"]["seal"] == "seccomp+landlock"
        [record] = _seals(service)
        assert record["body"]["level"] == "landlock"
        assert any("shares this machine" in note for note in record["body"]["notes"])
        assert {"tcp_connect", "udp"} <= set(record["body"]["passed"])
        assert "it shares this machine's network" in ringfence(tmp_path, "logs", "thief").stdout


def test_what_require_seal_asks_for_it_must_have_or_it_does_not_start(prison: Prison, tmp_path: Path) -> None:
    """The service has all that is asked for; the program's own network is lacking."""
    text = prison.policy("loopback", "require_seal: [seccomp]\n")
    with running(tmp_path, text) as service, surroundings(prison, service):
        assert ask(service, "thief").status_code == 200
    needs = [sys.executable, "-I", "-m", "router.seal", "--profile", "program", "--require", "netns", "--", "/bin/true"]
    with subprocess.Popen(needs, stderr=subprocess.PIPE, text=True) as refused:
        _, told = refused.communicate(timeout=60)
    if os.listdir("/sys/class/net") == ["lo"]:  # noqa: PTH208 - names only
        pytest.skip("this machine has no network but its loopback: nothing is lacking")
    assert refused.returncode == 3
    assert "lacks netns" in told
