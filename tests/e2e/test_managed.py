"""Programs behind upstreams, with real processes: started when asked for, swapped, stopped, and never left behind."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conversations import CHAT
from tests.networks import NETWORKS
from tests.service import Service, children, ringfence, running, until

ROOT = Path(__file__).parents[2]
PATIENT = "{connect: 1s, cold_start: 60s, first_token: 60s, answer: 60s, between_tokens: 30s, total: 120s}"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Programs:
    """A policy of managed upstreams, one model for each, and what their processes wrote of themselves."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.shared = directory / "shared"  # which the programs may write to
        self.shared.mkdir()
        self.events_file = self.shared / "events"
        self.upstreams: list[str] = []
        self.names: list[str] = []
        self.ports: dict[str, int] = {}

    def add(self, name: str, *options: str, more: str = "", alone: bool = False) -> None:
        where = ["--socket", "{socket}"] if alone else ["--port", "{port}"]
        command = [sys.executable, "-m", "tests.fakes.model_server", "--name", name, *where]
        command += ["--events", str(self.events_file), *options]
        self.ports[name] = free_port()
        url = "" if alone else f'url: "http://127.0.0.1:{self.ports[name]}/v1", network: loopback, '
        words = ", ".join(f'"{word}"' for word in command)
        environment = f"environment: {{PYTHONPATH: {ROOT}}}, read: [{ROOT}], write: [{self.directory / 'shared'}]"
        self.upstreams.append(f"  {name}: {{{url}command: [{words}], {environment}{more}}}")
        self.names.append(name)

    def policy(self, more: str = "") -> str:
        tiers = "\n".join(f"  - {{name: {name}, upstreams: [{name}], timeouts: {PATIENT}}}" for name in self.names)
        models = "\n".join(f"  {name}: {{tiers: [{name}]}}" for name in self.names)
        upstreams = "\n".join(self.upstreams)
        return f"listen: {{workers: 1}}\nupstreams:\n{upstreams}\ntiers:\n{tiers}\nmodels:\n{models}\n{more}"

    def events(self, what: str = "") -> list[tuple[str, int]]:
        lines = self.events_file.read_text().splitlines() if self.events_file.exists() else []
        found = [(line.split()[0], int(line.split()[1])) for line in lines if len(line.split()) == 2]
        return [event for event in found if not what or event[0] == what]

    def pids(self) -> list[int]:
        return [pid for what, pid in self.events() if what in ("started", "child")]


def lives(pid: int) -> bool:
    """A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ask(service: Service, model: str) -> httpx.Response:
    return service.post(CHAT, {"model": model, "messages": [{"role": "user", "content": "who?"}]}, timeout=90)


def state(service: Service, name: str) -> str:
    found: str = service.rows()[f"managed-{name}"]["state"]
    return found


def admin(service: Service) -> list[tuple[str, str]]:
    records = service.records("admin")
    return [(row["body"]["action"], row["body"]["target"]) for row in records if "managed" in row["body"]["action"]]


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


def test_the_first_request_starts_it_and_waits_until_it_has_loaded(programs: Programs, tmp_path: Path) -> None:
    programs.add("slow", "--load", "0.5")
    with running(tmp_path, programs.policy()) as service:
        assert state(service, "slow") == "stopped"
        assert programs.events() == []
        assert ask(service, "slow").json()["choices"][0]["message"]["content"] == "I am slow"
        assert state(service, "slow") == "ready"
        assert ask(service, "slow").status_code == 200
        assert len(programs.events("started")) == 1
        logs = ringfence(tmp_path, "logs", "slow", "--ledger", "ledger")
        assert "loading slow" in logs.stdout
        assert "TOKEN" not in logs.stdout
        given = logs.stdout.replace("'LC_CTYPE', ", "").replace("'LANG', ", "")
        assert "'HOME', 'LOGNAME', 'PATH', 'PYTHONPATH'" in given
        assert (tmp_path / "ledger-run" / "managed" / "slow.log").stat().st_mode & 0o777 == 0o600
        assert admin(service) == [("managed_start", "slow")]
        assert service.stop() == 0
    assert not any(map(lives, programs.pids()))
    assert service.verify().returncode == 0


def test_one_that_is_idle_is_stopped_and_started_again(programs: Programs, tmp_path: Path) -> None:
    programs.add("lazy", more=", idle: 500ms, start: on_demand")
    with running(tmp_path, programs.policy()) as service:
        assert ask(service, "lazy").status_code == 200
        until(lambda: state(service, "lazy") == "stopped", 20, "stopped when idle")
        until(lambda: not any(map(lives, programs.pids())), 10, "gone")
        assert ask(service, "lazy").status_code == 200
        assert admin(service)[:3] == [("managed_start", "lazy"), ("managed_stop", "lazy"), ("managed_start", "lazy")]


def test_an_eager_one_runs_before_it_is_asked_for(programs: Programs, tmp_path: Path) -> None:
    programs.add("eager", more=", start: eager")
    with running(tmp_path, programs.policy()) as service:
        until(lambda: state(service, "eager") == "ready", 20, "ready")
        assert service.health()["status"] == "healthy"
        service_pid = programs.events("started")[0][1]
        os.kill(service_pid, signal.SIGKILL)
        until(lambda: len(programs.events("started")) == 2, 20, "started again")


def test_three_models_share_a_card_and_every_request_is_answered(programs: Programs, tmp_path: Path) -> None:
    card = str(programs.shared / "card")
    for name in ("one", "two", "three"):
        programs.add(name, "--card", card, "--answer", "0.05", more=", exclusive: gpu0, patience: 500ms")
    with running(tmp_path, programs.policy()) as service:
        answers: list[tuple[str, int, str]] = []

        def client(number: int) -> None:
            for turn in range(4):
                model = ("one", "two", "three")[(number + turn) % 3]
                answer = ask(service, model)
                answers.append((model, answer.status_code, answer.text))

        threads = [threading.Thread(target=client, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
        assert len(answers) == 24
        assert {status for _, status, _ in answers} == {200}, answers
        assert all(f"I am {model}" in text for model, _, text in answers)
        assert programs.events("clash") == []
        started = len(programs.events("started"))
        assert 3 <= started < 24  # in batches, not one by one
        counted = Counter(what for what, _ in programs.events())
        assert counted["asked"] == counted["answered"] == 24  # nothing was stopped that worked
        service.settled(24)


def test_a_crash_loop_backs_off_and_the_next_tier_answers(programs: Programs, tmp_path: Path) -> None:
    programs.add("broken", "--crash-after", "0.05", "--load", "60")
    programs.add("sound")
    text = programs.policy().replace("  broken: {tiers: [broken]}", "  broken: {tiers: [broken, sound]}")
    with running(tmp_path, text) as service:
        answer = ask(service, "broken")
        assert (answer.status_code, answer.headers["x-ringfence-tier"]) == (200, "sound")
        until(lambda: state(service, "broken") == "failed", 20, "failed")
        assert service.rows()["managed-broken"]["reason"] == "exit code 7"
        assert ("managed_failed", "broken") in admin(service)
        for _ in range(10):
            assert ask(service, "broken").status_code == 200
        assert len(programs.events("started")) <= 4  # of both: it is not started for each request
        assert service.verify().returncode == 0


def test_one_that_hangs_at_its_start_is_given_up(programs: Programs, tmp_path: Path) -> None:
    programs.add("stuck", "--hang", "--deaf", more=", start_within: 500ms, stop_within: 200ms")
    with running(tmp_path, programs.policy()) as service:
        answer = ask(service, "stuck")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        until(lambda: "not ready within" in service.rows()["managed-stuck"]["reason"], 20, "given up")
        until(lambda: not any(map(lives, programs.pids()[:1])), 10, "gone")


def test_what_it_leaves_behind_is_ended_with_it(programs: Programs, tmp_path: Path) -> None:
    """A grandchild in a session of its own that ignores SIGTERM: it dies with the program, and by `ringfence stop`."""
    programs.add("parent", "--child", more=", stop_within: 300ms")
    with running(tmp_path, programs.policy()) as service:
        assert ask(service, "parent").status_code == 200
        (_, first), (_, child) = programs.events("started")[0], programs.events("child")[0]
        assert lives(child)
        os.kill(first, signal.SIGKILL)
        until(lambda: not lives(child), 20, "the grandchild is gone")
        until(lambda: ask(service, "parent").status_code == 200, 30, "started again")
        stopped = ringfence(tmp_path, "stop", "parent", "--ledger", "ledger")
        assert (stopped.returncode, stopped.stdout) == (0, "parent: stopped\n"), stopped.stderr
        assert not any(map(lives, programs.pids()))


@pytest.mark.parametrize("victim", ["supervisor", "keeper"])
def test_a_killed_parent_leaves_no_orphan(victim: str, programs: Programs, tmp_path: Path) -> None:
    programs.add("parent", "--child", "--deaf", more=", stop_within: 300ms")
    with running(tmp_path, programs.policy()) as service:
        assert ask(service, "parent").status_code == 200
        if victim == "supervisor":
            below = service.pids().values()
            os.kill(service.process.pid, signal.SIGKILL)
            service.process.wait()
            until(lambda: not any(map(lives, below)), 20, "the service's own processes are gone")
        else:
            keeper = next(pid for pid in children(service.process.pid) if programs.pids()[0] in children(pid))
            os.kill(keeper, signal.SIGKILL)
        until(lambda: not any(map(lives, programs.pids()[:2])), 20, "nothing of it is left")
        if victim == "keeper":  # nor a dead one that nobody collects
            until(lambda: all(map(lives, children(service.process.pid))), 20, "no zombie is ours")


def test_switch_loads_a_model_and_stop_unloads_it(programs: Programs, tmp_path: Path) -> None:
    card = str(programs.shared / "card")
    for name in ("one", "two"):
        programs.add(name, "--card", card, more=", exclusive: gpu0")
    with running(tmp_path, programs.policy()) as service:
        assert ask(service, "one").status_code == 200
        switched = ringfence(tmp_path, "switch", "two", "--config", "policy.yaml")
        assert (switched.returncode, switched.stdout) == (0, "two: ready\n"), switched.stderr
        assert (state(service, "one"), state(service, "two")) == ("stopped", "ready")
        assert ringfence(tmp_path, "stop").stdout == "two: stopped\n"
        assert ringfence(tmp_path, "stop").stdout == "nothing was running\n"
        unknown = ringfence(tmp_path, "switch", "three")
        assert (unknown.returncode, "no program that this service runs" in unknown.stderr) == (1, True)
        assert ringfence(tmp_path, "stop", "three").returncode == 1
        silent = ringfence(tmp_path, "logs", "three")
        assert (silent.returncode, silent.stderr.endswith("(there: one, two)\n")) == (2, True), silent.stderr
        assert programs.events("clash") == []


def test_a_reload_replaces_a_changed_program_and_stops_one_that_is_gone(programs: Programs, tmp_path: Path) -> None:
    programs.add("kept")
    programs.add("gone")
    with running(tmp_path, programs.policy()) as service:
        assert (ask(service, "kept").status_code, ask(service, "gone").status_code) == (200, 200)
        kept, gone = (pid for _, pid in programs.events("started"))
        programs.upstreams.pop()
        programs.names.pop()
        (tmp_path / "policy.yaml").write_text(programs.policy())
        assert ringfence(tmp_path, "reload").returncode == 0
        until(lambda: not lives(gone), 20, "stopped")
        assert lives(kept)
        (tmp_path / "policy.yaml").write_text(programs.policy().replace("command: [", "idle: 100s, command: ["))
        assert ringfence(tmp_path, "reload").returncode == 0
        until(lambda: not lives(kept), 20, "replaced")
        assert ask(service, "kept").status_code == 200


def test_a_gate_that_dies_does_not_take_the_programs_with_it(programs: Programs, tmp_path: Path) -> None:
    programs.add("one")
    with running(tmp_path, programs.policy()) as service:
        assert ask(service, "one").status_code == 200
        service.kill("gate")
        until(lambda: _answers(service), 30, "served again")
        assert len(programs.events("started")) == 1


def _answers(service: Service) -> bool:
    answer: Any = ask(service, "one")
    return bool(answer.status_code == 200)


@NETWORKS
def test_without_a_network_it_reaches_nothing_and_serves_on_its_socket(programs: Programs, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        programs.add("caged", "--reach", port, alone=True)
        programs.add("free", "--reach", port)
        with running(tmp_path, programs.policy()) as service:
            assert ask(service, "caged").status_code == 200
            assert [what for what, _ in programs.events()][:2] == ["started", "unreachable"]
            assert ask(service, "free").status_code == 200
            assert not programs.events("reached")  # a port of its own network is none of this machine's
            with pytest.raises(OSError):  # nor the other way round: only the gate is let in
                socket.create_connection(("127.0.0.1", programs.ports["free"]), 1)
            row = service.records("decision")[0]["body"]
            assert (row["upstream"], row["reach"]) == ("caged", "host")


def test_a_program_that_is_not_there_is_said(programs: Programs, tmp_path: Path) -> None:
    text = 'upstreams:\n  a: {command: ["/nowhere/llama-server", "--host", "{socket}"]}\ndefault_model: m\n'
    with running(tmp_path, text + "listen: {workers: 1}\n") as service:
        assert ask(service, "m").status_code == 503
        until(lambda: "exit code 126" in service.rows()["managed-a"]["reason"], 20, "failed")
        assert "not started" in ringfence(tmp_path, "logs", "a").stdout
