"""A cold upstream is woken and waited for, not failed over in haste; /warm tells a cron how it went."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
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

PATIENT = "{connect: 1s, cold_start: 25s, first_token: 2s, between_tokens: 2s, total: 40s}"


@pytest.fixture
def service(fake: Fake, tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path, policy(fake, timeouts=PATIENT)) as one:
        wait_until_ready(one)
        yield one


@pytest.mark.parametrize("fault", ["loading", "html"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_loading_upstream_is_waited_for(fake: Fake, service: Service, fault: str, *, stream: bool) -> None:
    fake.become(fault=fault, seconds=2.0)
    assert service.post(CHAT, chat()).status_code in (200, 503)  # whoever comes first may learn that it loads
    began = time.monotonic()
    answer = service.post(CHAT, chat(stream=stream))
    assert answer.status_code == 200, answer.text
    assert time.monotonic() - began < 6
    if stream:
        assert text_of(data_of(answer.content)) == GOOD_TEXT
    else:
        assert answer.json()["choices"][0]["message"]["content"] == GOOD_TEXT


@pytest.mark.parametrize("stream", [True, False])
def test_even_the_first_to_find_it_asleep_is_answered(fake: Fake, service: Service, *, stream: bool) -> None:
    """It was ready when last seen; the only tier says 503 to the request itself. DeepSite must not see an error."""
    fake.become(fault="loading", seconds=2.0)
    answer = service.post(CHAT, chat(stream=stream))
    assert answer.status_code == 200, answer.text


def test_a_service_that_starts_before_its_upstream_is_up(fake: Fake, tmp_path: Path) -> None:
    fake.become(fault="loading")
    with running(tmp_path, policy(fake, timeouts=PATIENT)) as service:
        until(lambda: service.get("/health").json()["status"] == "warming", 3, "/health says warming")
        health = service.get("/health")
        assert (health.status_code, health.json()["ready"]) == (503, False)
        assert int(health.headers["retry-after"]) > 0
        fake.become(seconds=1.5)
        assert service.post(CHAT, chat(stream=True)).status_code == 200
        assert service.get("/health").status_code == 200


@pytest.mark.slow
def test_a_long_wait_is_filled_with_comments(fake: Fake, service: Service) -> None:
    fake.become(fault="loading", seconds=12.0)
    with raw_client(service) as client:
        client.ask(chat(stream=True))
        status, headers = client.head()
        chunks = list(client.chunks())
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    assert chunks[0].startswith(b":")
    assert all(chunk.endswith(b"\n\n") for chunk in chunks)
    assert text_of(data_of(b"".join(chunks))) == GOOD_TEXT


@pytest.mark.slow
def test_an_error_after_comments_is_an_event_of_openais_shape(fake: Fake, tmp_path: Path) -> None:
    impatient = PATIENT.replace("25s", "12s")
    with running(tmp_path, policy(fake, timeouts=impatient)) as service:
        wait_until_ready(service)
        fake.become(fault="loading")
        with raw_client(service) as client:
            client.ask(chat(stream=True))
            client.head()
            data = data_of(b"".join(client.chunks()))
        assert len(data) == 1
        assert error_of(data[0])["code"] == "upstreams_unavailable"


# --- /warm ---


def test_warm_says_200_and_a_row_for_each_upstream(service: Service) -> None:
    answer = service.get("/warm")
    assert (answer.status_code, answer.json()["status"]) == (200, "warm")
    [row] = answer.json()["upstreams"]
    assert (row["upstream"], row["tier"], row["state"], row["was_cold"]) == ("up-1", "tier-1", "ready", False)
    assert row["ms"] >= 0
    assert ringfence(service.directory, "warm", "--port", str(service.port)).returncode == 0
    unknown = ringfence(service.directory, "warm", "--port", str(service.port), "--tier", "nowhere")
    assert (unknown.returncode, unknown.stdout) == (2, "")  # it was not asked anything that it could answer
    assert "There is no tier 'nowhere'" in unknown.stderr


def test_warm_waits_as_long_as_asked(fake: Fake, tmp_path: Path) -> None:
    fake.become(fault="loading")
    with running(tmp_path, policy(fake, timeouts=PATIENT)) as service:
        hasty = service.post("/warm?wait=0.2")
        assert (hasty.status_code, hasty.json()["status"]) == (503, "cold")
        assert hasty.headers["retry-after"]
        fake.become(seconds=1.0)
        patient = service.post("/warm?wait=10&tier=tier-1")
        assert (patient.status_code, patient.json()["upstreams"][0]["was_cold"]) == (200, True)


def test_warm_of_an_upstream_that_is_not_there_fails_for_cron(fake: Fake, tmp_path: Path) -> None:
    fake.become(fault="refuse")
    with running(tmp_path, policy(fake, timeouts=PATIENT)) as service:
        until(lambda: service.get("/health").json()["tiers"]["tier-1"], 3, "states are known")
        assert service.get("/warm?wait=0.5").status_code == 503
        ended = ringfence(tmp_path, "warm", "--port", str(service.port), "--wait", "0.5")
        assert ended.returncode == 1
        assert "up-1" in ended.stdout
    assert ringfence(tmp_path, "warm", "--port", str(service.port)).returncode == 2


def test_many_warms_are_one(fake: Fake, tmp_path: Path) -> None:
    """Single flight: twenty crons at once probe no more than one does."""
    fake.become(fault="loading")
    with running(tmp_path, policy(fake, timeouts=PATIENT)) as service:
        fake.become(seconds=1.5)
        before = len(fake.seen())
        answers: list[int] = []

        def warm() -> None:
            answers.append(client.get(service.url + "/warm?wait=10").status_code)

        crons = [threading.Thread(target=warm) for _ in range(20)]
        with httpx.Client(timeout=20, trust_env=False) as client:  # one: making twenty takes longer than the waiting
            for cron in crons:
                cron.start()
            for cron in crons:
                cron.join()
        assert answers == [200] * 20
        probes = [row for row in fake.seen()[before:] if row["method"] == "GET"]
        assert len(probes) < 20, "as many as crons, or more: each had its own"


def test_a_caller_that_leaves_does_not_stop_the_warming(fake: Fake, tmp_path: Path) -> None:
    fake.become(fault="loading")
    with running(tmp_path, policy(fake, timeouts=PATIENT)) as service:
        with pytest.raises(httpx.ReadTimeout):
            service.get("/warm?wait=30", timeout=0.3)
        fake.become(fault="")
        wait_until_ready(service, 5)
