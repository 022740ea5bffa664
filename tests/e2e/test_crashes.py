"""kill -9 of any process under load: noticed within a second, started again, said, and no decision without outcome."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from router.seal.machine import call
from tests.e2e.conftest import Town
from tests.e2e.conversations import CHAT, GOOD_TEXT, all_ready, chat, data_of, error_of, policy, raw_client
from tests.fakes.running import fake_upstream
from tests.service import children, events, running, until

NOTICED_S = 10.0  # hundredths of a second on an idle machine; tests share theirs
SERVED_AGAIN_S = 20.0
LOAD = 8


class Load:
    """Clients that ask again and again, half of them streaming, and count what they get."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._over = threading.Event()
        self.results: Counter[str] = Counter()
        self._clients = [threading.Thread(target=self._ask, args=(number % 2 == 0,)) for number in range(LOAD)]

    def _ask(self, stream: bool) -> None:
        while not self._over.is_set():
            try:
                answer = httpx.post(
                    self._town.service.url + CHAT, json=chat(stream=stream), timeout=20, trust_env=False
                )
                self.results[judge(answer, stream=stream)] += 1
            except httpx.HTTPError as error:
                self.results[type(error).__name__] += 1
            time.sleep(0.02)

    @contextmanager
    def running(self) -> Iterator[None]:
        for client in self._clients:
            client.start()
        try:
            yield
        finally:
            self._over.set()
            for client in self._clients:
                client.join()


def judge(answer: httpx.Response, *, stream: bool) -> str:
    """The word "good", or the code of a well-formed error; AssertionError for anything in between."""
    if answer.status_code != 200:
        return str(error_of(answer.content)["code"])
    if not stream:
        assert answer.json()["choices"][0]["message"]["content"] == GOOD_TEXT
        return "good"
    data = data_of(answer.content)
    return "good" if data[-1] == "[DONE]" else "cut: " + str(error_of(data[-1])["code"])


@pytest.mark.parametrize("victim", ["gate", "worker-0"])
def test_a_killed_process_is_back_at_once_and_the_ledger_lacks_nothing(town: Town, victim: str) -> None:
    town.one.become(tokens=5, delay_s=0.02)
    service, load = town.service, Load(town)
    pid, restarts = service.pids()[victim], service.rows()[victim]["restarts"]
    with load.running():
        until(lambda: load.results["good"], 10, "answers before")
        good_before = load.results["good"]
        service.kill(victim)
        until(lambda: service.pids().get(victim, pid) != pid, NOTICED_S, f"another {victim}")
        until(lambda: said(town, victim, restarts), SERVED_AGAIN_S, "/health tells of it")
        until(lambda: load.results["good"] > good_before + LOAD, 10, "answers after")
    lost = load.results.total() - load.results["good"]
    assert lost <= LOAD * 2, load.results
    assert set(load.results) <= {
        "good", "gate_unavailable", "upstream_failed", "cut: upstream_failed", "RemoteProtocolError", "ReadError",
    }, load.results  # fmt: skip
    assert victim == "worker-0" or not {"RemoteProtocolError", "ReadError"} & set(load.results)
    service.settled()
    verdict = service.verify()
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


def said(town: Town, victim: str, restarts: int) -> bool:
    try:
        row = town.service.rows()[victim]
    except (httpx.HTTPError, KeyError):
        return False
    return row["restarts"] > restarts and row["state"] == "ready" and all_ready(town.service)


def test_the_killed_gates_decisions_are_closed_as_interrupted(town: Town) -> None:
    town.one.become(tokens=600, delay_s=0.05)
    service = town.service
    with raw_client(service) as client:
        client.ask(chat(stream=True))
        client.head()
        chunks = client.chunks()
        first = next(chunks)
        service.kill("gate")
        data = data_of(first + b"".join(chunks))
    assert error_of(data[-1])["code"] == "upstream_failed"
    assert "[DONE]" not in data
    until(lambda: all_ready(service), SERVED_AGAIN_S, "ready again")
    decision = service.records("decision")[-1]
    [outcome] = [row["body"] for row in service.settled() if row["body"]["decision"] == decision["i"]]
    assert outcome["ending"] == "interrupted"
    town.one.become(tokens=5, delay_s=0.0)
    assert service.post(CHAT, chat()).status_code == 200


def test_a_killed_workers_exchanges_are_stopped_and_named_so(town: Town) -> None:
    town.one.become(tokens=600, delay_s=0.05)
    service = town.service
    with raw_client(service) as client:
        client.ask(chat(stream=True))
        client.head()
        service.kill("worker-0")
        [seen] = town.one.wait_until(lambda asked: asked[0]["ending"] != "open")
    assert seen["ending"] == "client_left"
    assert service.settled()[-1]["body"]["ending"] == "worker_lost"


def test_a_gate_that_hangs_is_no_reason_to_answer_without_a_record(town: Town) -> None:
    """SIGSTOP: it takes no frame, so nothing is sent; the client gets an error or waits, never an answer."""
    service = town.service
    before = len(town.one.asked())
    service.kill("gate", signal.SIGSTOP)
    try:
        with pytest.raises(httpx.ReadTimeout):
            service.post(CHAT, chat(), timeout=0.7)
        assert len(town.one.asked()) == before
        assert service.get("/livez").status_code == 200
    finally:
        service.kill("gate", signal.SIGCONT)
    assert service.post(CHAT, chat()).status_code == 200
    service.settled()


def test_no_process_outlives_a_killed_supervisor(town: Town, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("orphans")
    policy = f'version: 1\nlisten: {{workers: 2}}\nupstreams: {{up: {{url: "{town.one.url}"}}}}\ndefault_model: m\n'
    with running(directory, policy) as service:
        pids = children(service.process.pid)
        assert len(pids) == 3
        service.process.kill()
        until(lambda: not any(alive(pid) for pid in pids), 3, f"{pids} end too")


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - /proc
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_channel_that_closes_between_two_that_live_is_replaced(town: Town) -> None:
    """As root: take the worker's end from it by pidfd_getfd(2), and shut it down."""
    if os.geteuid() != 0:
        pytest.skip("NO CHANNEL WAS CLOSED: only root may take a descriptor from a sealed worker")
    service = town.service
    before = service.pids()
    shut_channels(before["worker-0"])
    until(lambda: "channel_replaced" in service.log(), 5, "the supervisor made another")
    until(lambda: service.health()["status"] == "healthy", 5, "the worker knows of the gate again")
    assert service.post(CHAT, chat()).status_code == 200
    assert service.pids() == before, "nobody was started again"


def shut_channels(pid: int) -> None:
    """Every connected AF_UNIX stream of the process: a worker has its channel alone."""
    holder = os.pidfd_open(pid)
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=call("pidfd_getfd", holder, int(entry.name), 0)) as taken:
                if (taken.family, taken.type) == (socket.AF_UNIX, socket.SOCK_STREAM):
                    taken.shutdown(socket.SHUT_RDWR)
    finally:
        os.close(holder)


def test_a_gate_starts_again_though_the_service_lost_its_directory(tmp_path: Path) -> None:
    """As by a job that removes old temporary files."""
    with fake_upstream() as fake, running(tmp_path, policy(fake)) as service:
        shutil.rmtree(tmp_path / "ledger-run")
        killed = service.pids()["gate"]
        service.kill("gate")
        until(lambda: service.pids().get("gate", killed) != killed, 20, "another gate")
        until(lambda: service.post(CHAT, chat()).status_code == 200, 30, "it serves")
        assert events(service.log(), "run_directory_lost")
        assert (tmp_path / "ledger-run").stat().st_mode & 0o777 == 0o700
        assert "Traceback" not in service.log()
        assert service.stop() == 0
