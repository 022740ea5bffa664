"""Starting and stopping: what runs is finished, what cannot start says so in a sentence."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.conversations import (
    CHAT,
    GOOD_TEXT,
    chat,
    data_of,
    error_of,
    policy,
    raw_client,
    text_of,
    wait_until_ready,
)
from tests.fakes.running import Fake
from tests.service import Service, ringfence, running, until

PATIENT = "{connect: 1s, first_token: 30s, between_tokens: 30s, total: 60s}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_answers_are_finished_first(fake: Fake, tmp_path: Path, number: signal.Signals) -> None:
    fake.become(tokens=5, delay_s=0.2)
    with running(tmp_path, policy(fake, timeouts=PATIENT)) as service:
        wait_until_ready(service)
        with raw_client(service) as streaming, raw_client(service) as whole:
            streaming.ask(chat(stream=True))
            whole.ask(chat())
            streaming.head()
            ended = threading.Thread(target=service.stop, args=(number,))
            ended.start()
            data = data_of(b"".join(streaming.chunks()))
            status, _headers = whole.head()
            ended.join()
        assert (text_of(data), data[-1], status) == (GOOD_TEXT, "[DONE]", 200)
        assert service.process.returncode == 0
        assert [row["body"]["ending"] for row in service.settled()] == ["completed", "completed"]
        assert service.records()[-1]["kind"] in {"stop", "checkpoint"}
        assert service.records("stop")
        assert service.verify().returncode == 0


def test_while_it_drains_no_new_client_is_taken(fake: Fake, tmp_path: Path) -> None:
    fake.become(tokens=5, delay_s=0.2)
    with running(tmp_path, policy(fake, timeouts=PATIENT)) as service:
        wait_until_ready(service)
        with raw_client(service) as client:
            client.ask(chat(stream=True))
            client.head()
            service.process.send_signal(signal.SIGTERM)
            until(lambda: refuses(service), 2, "new connections are not answered")
            assert data_of(b"".join(client.chunks()))[-1] == "[DONE]"
        assert service.stop() == 0


def refuses(service: Service) -> bool:
    """Whether a new client is refused or left unanswered."""
    try:
        with socket.create_connection(("127.0.0.1", service.port), 0.3) as sock:
            sock.settimeout(0.3)
            sock.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            return sock.recv(12) != b"HTTP/1.1 200"
    except OSError:
        return True


def test_what_does_not_end_in_time_is_cut_with_an_outcome(fake: Fake, tmp_path: Path) -> None:
    fake.become(tokens=6000, delay_s=0.05)
    with running(tmp_path, policy(fake, timeouts=PATIENT, more="limits: {drain: 1s}\n")) as service:
        wait_until_ready(service)
        with raw_client(service) as client:
            client.ask(chat(stream=True))
            client.head()
            began = time.monotonic()
            assert service.stop() == 0
            assert time.monotonic() - began < 6
        [outcome] = service.settled()
        assert outcome["body"]["ending"] in {"client_left", "worker_lost", "gate_stopped"}
    [seen] = fake.wait_until(lambda asked: asked[0]["ending"] != "open")
    assert seen["ending"] == "client_left"


def test_a_second_signal_does_not_wait(fake: Fake, tmp_path: Path) -> None:
    fake.become(tokens=6000, delay_s=0.05)
    with running(tmp_path, policy(fake, timeouts=PATIENT)) as service:
        wait_until_ready(service)
        with raw_client(service) as client:
            client.ask(chat(stream=True))
            client.head()
            service.process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            began = time.monotonic()
            service.stop(signal.SIGINT)
            assert time.monotonic() - began < 3


def test_the_ledger_has_one_writer(fake: Fake, tmp_path: Path) -> None:
    with running(tmp_path, policy(fake)) as service:
        second = ringfence(tmp_path, "serve", "--config", "policy.yaml", "--port", "0")
        assert second.returncode == 1
        said = second.stdout + second.stderr
        assert "ledger" in said
        assert "Traceback" not in said
        wait_until_ready(service)
        assert service.post(CHAT, chat()).status_code == 200
        service.settled(1)


def test_a_taken_port_is_said_and_nothing_is_started(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(policy(fake))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = ringfence(tmp_path, "serve", "--config", "policy.yaml", "--port", str(port))
    assert ended.returncode == 1
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "in use" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "ledger").exists()


# Policy text -> the exit code (2: there was nothing to judge) and where the sentence points.
BAD_POLICIES = {
    "malformed": ("version: 1\nupstreams: {a: [\n", 1, "policy.yaml:"),
    "unknown key": ("version: 1\nupstream: {}\n", 1, "policy.yaml:2"),
    "twice": ("version: 1\nversion: 1\n", 1, "policy.yaml:2"),
    "empty": ("", 2, "policy.yaml"),
    "a cloud": ('version: 1\nupstreams: {a: {url: "https://api.openai.com:443/v1"}}\n', 1, "policy.yaml:2"),
}


@pytest.mark.parametrize("name", BAD_POLICIES)
def test_a_bad_policy_starts_nothing(tmp_path: Path, name: str) -> None:
    text, code, wanted = BAD_POLICIES[name]
    (tmp_path / "policy.yaml").write_text(text)
    ended = ringfence(tmp_path, "serve", "--config", "policy.yaml", "--port", "0")
    assert ended.returncode == code, ended.stderr
    assert wanted in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "ledger").exists()


def test_the_log_is_one_json_object_a_line(fake: Fake, tmp_path: Path) -> None:
    with running(tmp_path, policy(fake)) as service:
        wait_until_ready(service)
        service.kill("gate")
        until(lambda: "process_ended" in service.log(), 2, "the log tells of it")
        lines = [line for line in service.log().splitlines() if line and "listens on" not in line]
        for line in lines:
            assert {"time", "process", "event"} <= json.loads(line).keys()


def test_errors_of_a_service_without_upstreams_that_answer(fake: Fake, tmp_path: Path) -> None:
    fake.become(fault="refuse")
    with running(tmp_path, policy(fake)) as service:
        until(lambda: service.get("/health").status_code == 503, 3, "/health says that nothing can serve")
        answer = service.get("/health")
        assert answer.headers["retry-after"]
        assert answer.json()["ready"] is False
        refused = service.post(CHAT, chat())
        assert error_of(refused.content)["code"] in {"upstream_failed", "upstreams_unavailable"}
        assert service.get("/livez").status_code == 200
