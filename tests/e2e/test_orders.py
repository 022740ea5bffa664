"""`ringfence reload`, `narrow` and a watched file: the terminal, /health and the ledger tell what came of it."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.conversations import CHAT, chat, policy, wait_until_ready
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, events, ringfence, running, until

PATIENT = "{connect: 1s, first_token: 30s, between_tokens: 30s, total: 60s}"


def write(service: Service, text: str) -> None:
    (service.directory / "policy.yaml").write_text(text)


def digest(service: Service) -> str:
    found: str = service.health()["policy"]
    return found


def test_the_terminal_hears_what_came_of_it(fake: Fake, tmp_path: Path) -> None:
    with running(tmp_path, policy(fake)) as service:
        wait_until_ready(service)
        before = digest(service)
        write(service, policy(fake) + "\nlimits: {json_depth: 32}\n")
        done = ringfence(tmp_path, "reload", "--config", "policy.yaml")
        assert (done.returncode, done.stderr) == (0, "")
        assert digest(service)[:16] in done.stdout  # in force when the command returns
        assert digest(service) != before
        after = digest(service)
        write(service, policy(fake) + "\nlimits: {json_deep: 32}\n")
        done = ringfence(tmp_path, "reload", "--config", "policy.yaml")
        assert done.returncode == 1
        assert "policy.yaml:" in done.stderr
        assert "did you mean 'json_depth'?" in done.stderr
        assert "the old ones stay in force" in done.stderr
        assert digest(service) == after
        told = service.health()["reload"]
        assert (told["result"], told["by"]) == ("refused", "ringfence reload")
        assert told["reason"].startswith("policy.yaml:")
        assert "unknown key" in told["reason"]
        last = service.records("reload")[-1]["body"]
        assert (last["result"], last["actor"]) == ("refused", "ringfence reload")
        assert "unknown key" in last["reason"]
        assert "unknown key" in service.log()
        assert ringfence(tmp_path, "reload", "--ledger", "ledger").returncode == 1


def test_without_a_service_it_says_where_it_looked(tmp_path: Path) -> None:
    done = ringfence(tmp_path, "reload")
    assert done.returncode == 2
    assert "ledger-run" in done.stderr


def test_a_service_that_ends_before_it_answers_is_told_of_in_words(tmp_path: Path) -> None:
    (own := tmp_path / "ledger-run" / "7").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(str(own / "orders.sock"))
        service.listen()

        def hang_up() -> None:
            with service.accept()[0] as asked:
                asked.recv(4096)

        thread = threading.Thread(target=hang_up)
        thread.start()
        done = ringfence(tmp_path, "reload", "--ledger", "ledger")
        thread.join()
    assert (done.returncode, "the service ended before it answered" in done.stderr) == (2, True), done.stderr


def test_a_watched_file_is_taken_when_it_is_written_whole(fake: Fake, tmp_path: Path) -> None:
    text = policy(fake) + "\nwatch: 100ms\n"
    with running(tmp_path, text) as service:
        wait_until_ready(service)
        before = digest(service)
        write(service, text + "limits: {json_depth: 32}\n")
        until(lambda: digest(service) != before, 10, "taken")
        write(service, text + "limits: {json_deep: 32}\n")
        until(lambda: (service.health()["reload"] or {}).get("result") == "refused", 10, "refused")
        until(lambda: [row["body"]["actor"] for row in service.records("reload")] == ["watch", "watch"], 10, "recorded")


def test_what_was_narrowed_stays_narrow_until_it_is_lifted(tmp_path: Path) -> None:
    with fake_upstream() as one, fake_upstream() as two, running(tmp_path, policy(one, two)) as service:
        wait_until_ready(service)
        whole = digest(service)
        done = ringfence(tmp_path, "narrow", "--without", "up-1", "--config", "policy.yaml")
        assert done.returncode == 0, done.stderr
        assert service.post(CHAT, chat()).headers["x-ringfence-upstream"] == "up-2"
        assert service.health()["reload"]["narrowed"] == "without up-1"
        assert ringfence(tmp_path, "reload").returncode == 0
        assert service.post(CHAT, chat()).headers["x-ringfence-upstream"] == "up-2"
        assert ringfence(tmp_path, "narrow", "--reach", "process").returncode == 0
        answer = service.post(CHAT, chat())
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "policy_denied")
        assert ringfence(tmp_path, "reload", "--lift").returncode == 0
        assert digest(service) == whole
        until(lambda: service.post(CHAT, chat()).headers.get("x-ringfence-upstream") == "up-1", 10, "it is back")
        sources = [record["body"]["source"] for record in service.records("reload")]
        assert "without up-1" in sources[0]
        assert "reach process" in sources[2]
        service.settled()
        assert service.verify().returncode == 0


def test_a_server_that_is_renamed_stays_away_and_that_is_said(tmp_path: Path) -> None:
    with fake_upstream() as one, fake_upstream() as two, running(tmp_path, policy(one, two)) as service:
        wait_until_ready(service)
        assert ringfence(tmp_path, "narrow", "--without", "up-1").returncode == 0
        write(service, policy(one, two).replace("up-1", "best"))
        done = ringfence(tmp_path, "reload")
        assert (done.returncode, "at its place is best now, and stays away too" in done.stdout) == (0, True)
        assert service.post(CHAT, chat()).headers["x-ringfence-upstream"] == "up-2"
        assert service.health()["reload"]["unlisted"] == {"up-1": ["best"]}
        write(service, policy(two).replace("up-1", "other"))
        assert "if that server is listed by another address now" in ringfence(tmp_path, "reload").stdout
        assert ringfence(tmp_path, "reload").returncode == 0  # said again, recorded once
        told = [row["body"] for row in service.records("admin") if row["body"]["action"] == "narrow"]
        assert {row["target"] for row in told} == {"without up-1"}
        gone = "not listed any more; at its place: "
        assert [row["result"] for row in told] == ["taken", gone + "best", gone + "nothing"]
        assert len(events(service.log(), "narrowing_names_nothing")) == 2
        assert ringfence(tmp_path, "reload", "--lift").returncode == 0
        assert service.health()["reload"]["unlisted"] == {}
        service.settled()
        assert service.verify().returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--without", "nobody"], 1, "no upstream is called 'nobody'"),
        (["--reach", "moon"], 1, "must be one of process"),
        ([], 2, "say what to take away"),
    ],
)
def test_a_narrowing_that_means_nothing(arguments: list[str], code: int, says: str, fake: Fake, tmp_path: Path) -> None:
    with running(tmp_path, policy(fake)):
        done = ringfence(tmp_path, "narrow", *arguments)
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr


def test_a_request_that_runs_where_the_service_was_narrowed_is_finished(tmp_path: Path) -> None:
    with fake_upstream() as one, fake_upstream() as two:
        with running(tmp_path, policy(one, two, timeouts=PATIENT)) as service:
            wait_until_ready(service)
            one.become(tokens=6, delay_s=0.2)
            answers: list[int] = []
            slow = threading.Thread(target=lambda: answers.append(service.post(CHAT, chat()).status_code))
            slow.start()
            one.wait_until(lambda asked: len(asked) == 1)
            assert ringfence(tmp_path, "narrow", "--without", "up-1").returncode == 0
            assert service.post(CHAT, chat()).headers["x-ringfence-upstream"] == "up-2"
            slow.join(20)
            assert answers == [200]


def test_a_new_drain_time_holds_for_workers_that_run(fake: Fake, tmp_path: Path) -> None:
    fake.become(tokens=100, delay_s=0.3)
    with running(tmp_path, policy(fake, timeouts=PATIENT) + "\nlimits: {drain: 60s}\n") as service:
        wait_until_ready(service)
        write(service, policy(fake, timeouts=PATIENT) + "\nlimits: {drain: 1s}\n")
        assert ringfence(tmp_path, "reload").returncode == 0
        slow = threading.Thread(target=_ask_in_vain, args=(service,))
        slow.start()
        fake.wait_until(lambda asked: len(asked) == 1)
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < 12  # it would have been sixty
        slow.join(20)
        assert service.settled(1)


def _ask_in_vain(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        body = json.dumps(chat(stream=True)).encode()
        client.sendall(
            b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % (CHAT.encode(), len(body))
        )
        client.sendall(body)
        while client.recv(4096):
            continue


def test_the_socket_takes_orders_only_and_only_its_owner_reaches_it(fake: Fake, tmp_path: Path) -> None:
    with running(tmp_path, policy(fake)) as service:
        own = tmp_path / "ledger-run" / str(service.process.pid)
        path = own / "orders.sock"
        assert own.stat().st_mode & 0o777 == 0o700
        assert path.stat().st_mode & 0o777 == 0o600
        assert f"pid {service.process.pid}" in service.log()
        for said, answer in [(b"\xff\n", "no order"), (b'{"do": "dance"}\n', "'dance' is no order"), (b"", "no order")]:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(said)
                client.shutdown(socket.SHUT_WR)
                told = json.loads(client.makefile("rb").readline())
            assert (told["good"], answer in told["text"]) == (False, True)
        assert service.post(CHAT, chat()).status_code == 200


def test_sighup_still_does(fake: Fake, tmp_path: Path) -> None:
    with running(tmp_path, policy(fake)) as service:
        service.process.send_signal(signal.SIGHUP)
        until(lambda: [record["body"]["actor"] for record in service.records("reload")] == ["SIGHUP"], 10, "taken")
