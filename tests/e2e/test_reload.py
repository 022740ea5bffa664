"""An operator edits the policy file and sends SIGHUP: a good file is swapped in whole, a bad one changes nothing."""

from __future__ import annotations

import signal
import threading
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.conversations import CHAT, chat, policy, wait_until_ready
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, ringfence, running, until

KEPT_WARM = "{first_token: 10s, total: 20s}, warm: {every: 1h}"


def rewrite(service: Service, text: str) -> None:
    (service.directory / "policy.yaml").write_text(text)
    service.process.send_signal(signal.SIGHUP)


def reloads(service: Service) -> list[str]:
    return [record["body"]["result"] for record in service.records("reload")]


def taken(service: Service, count: int) -> bool:
    return len(reloads(service)) == count


def models(service: Service) -> list[str]:
    return [row["id"] for row in service.get("/v1/models").json()["data"]]


def test_a_good_file_is_swapped_in_while_requests_finish_where_they_began(tmp_path: Path) -> None:
    with fake_upstream() as one, fake_upstream() as two:
        with running(tmp_path, policy(one, timeouts=KEPT_WARM)) as service:
            wait_until_ready(service)
            before = service.health()["policy"]
            one.become(tokens=8, delay_s=0.1)
            answers: list[int] = []
            slow = threading.Thread(target=lambda: answers.append(service.post(CHAT, chat()).status_code))
            slow.start()
            one.wait_until(lambda asked: len(asked) == 1)
            rewrite(service, policy(two, timeouts=KEPT_WARM))
            until(lambda: reloads(service) == ["taken"], 5, "taken")
            until(lambda: service.health()["policy"] != before, 5, "swapped")
            assert service.post(CHAT, chat()).status_code == 200
            assert len(two.asked()) == 1
            slow.join(10)
            assert answers == [200]
            assert service.settled(2)
            assert service.verify().returncode == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("\nunknown: 1\n", "unknown key"),
        ('\n  cloud: {url: "https://api.openai.com:443/v1", third_party_host: true}\n', "cloud_provider"),
        ("\n\tnot yaml: [", "policy.yaml:"),
    ],
)
def test_a_bad_file_changes_nothing_and_says_why(change: str, says: str, tmp_path: Path) -> None:
    with fake_upstream() as one, running(tmp_path, policy(one)) as service:
        wait_until_ready(service)
        before = service.health()["policy"]
        text = policy(one)
        bad = text.replace("\ntiers:", f"{change}tiers:", 1) if "cloud:" in change else text + change
        rewrite(service, bad)
        until(lambda: reloads(service) == ["refused"], 5, "refused")
        assert says in service.log()
        told = service.records("reload")[0]["body"]["reason"]
        assert "policy.yaml" in told
        assert "the old ones stay in force" in service.log()
        assert service.health()["policy"] == before
        assert service.post(CHAT, chat()).status_code == 200


def test_what_processes_were_started_by_cannot_change(tmp_path: Path) -> None:
    with fake_upstream() as one, running(tmp_path, policy(one)) as service:
        wait_until_ready(service)
        rewrite(service, policy(one) + "\nlimits: {body_bytes: 4096}\naudit: {durability: async}\n")
        until(lambda: reloads(service) == ["refused"], 5, "refused")
        assert "'audit' cannot change while the service runs" in service.log()


def two_workers(fake: Fake) -> str:
    return policy(fake).replace("workers: 1", "workers: 2")


def test_a_reload_each_second_loses_no_request(tmp_path: Path) -> None:
    """Streams and whole answers, over two workers."""
    with fake_upstream() as one, running(tmp_path, two_workers(one)) as service:
        wait_until_ready(service)
        stop = threading.Event()
        statuses: list[int] = []

        def ask(*, stream: bool) -> None:
            while not stop.is_set():
                answer = service.post(CHAT, chat(stream=stream))
                whole = not stream or answer.content.endswith(b"data: [DONE]\n\n")
                statuses.append(answer.status_code if whole else -1)

        asking = [threading.Thread(target=ask, kwargs={"stream": number % 2 == 0}) for number in range(4)]
        for thread in asking:
            thread.start()
        for count in range(1, 6):
            rewrite(service, two_workers(one) + f"\nlimits: {{json_depth: {20 + count}}}\n")
            until(partial(taken, service, count), 5, "taken")
            until(lambda: len(statuses) > 5 * count, 20, "requests go on")  # noqa: B023 - called at once
        stop.set()
        for thread in asking:
            thread.join(10)
        assert set(statuses) == {200}
        assert service.settled(len(statuses))


def test_a_revoked_key_is_refused_and_a_new_one_taken_from_the_reload_on(tmp_path: Path) -> None:
    def create() -> str:
        return ringfence(tmp_path, "keys", "create", "alice", "--file", "keys.yaml").stdout.strip()

    def status(key: str) -> int:
        return service.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code

    old = create()
    with fake_upstream() as one, running(tmp_path, policy(one) + "\ncallers: {file: keys.yaml}\n") as service:
        new = create()
        assert (status(old), status(new)) == (200, 401)
        assert ringfence(tmp_path, "keys", "revoke", old.split("_")[1], "--file", "keys.yaml").returncode == 0
        service.process.send_signal(signal.SIGHUP)
        until(lambda: status(new) == 200, 5, "the new key is taken")
        assert status(old) == 401
