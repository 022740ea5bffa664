"""Each tier has its own time; what is not there is not waited for; a 4xx that no client could read is put in words."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.conftest import Town
from tests.e2e.conversations import CHAT, GOOD_TEXT, MODEL, chat, error_of, policy, wait_until_ready
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, ringfence, running, until

PATIENT = "{connect: 1s, cold_start: 60s, first_token: 60s, total: 90s}"
SOON_S = 15.0  # far from the patience above, and generous to a busy machine


@pytest.fixture
def fake() -> Iterator[Fake]:
    with fake_upstream() as one:
        yield one


@pytest.mark.parametrize("stream", [True, False])
def test_a_tiers_own_milliseconds_let_the_next_tier_answer(tmp_path: Path, *, stream: bool) -> None:
    """DeepSite's TIER1_TIMEOUT, shorter than the first tier takes; the second one has time of its own."""
    with fake_upstream() as one, fake_upstream() as two:
        settings = {
            "TIER1_BASE_URL": one.url, "TIER1_MODEL": MODEL, "TIER1_TIMEOUT": "700",
            "TIER2_BASE_URL": two.url, "TIER2_MODEL": MODEL, "TIER2_TIMEOUT": "60000",
        }  # fmt: skip
        with running(tmp_path, None, "--workers", "1", under=(), **settings) as service:
            wait_until_ready(service)
            one.become(fault="stall_before_head")
            two.become(first_delay_s=1.0)  # longer than the first tier's whole time
            began = time.monotonic()
            answer = service.post(CHAT, chat(stream=stream))
            assert (answer.status_code, answer.headers["x-ringfence-attempts"]) == (200, "2"), answer.text
            assert 1.6 < time.monotonic() - began < SOON_S
            endings = [outcome["body"]["ending"] for outcome in service.settled(2)]
            assert endings == ["total_timeout", "completed"]


@pytest.mark.parametrize("stream", [True, False])
def test_an_upstream_that_nobody_listens_on_fails_at_once(fake: Fake, tmp_path: Path, *, stream: bool) -> None:
    fake.become(fault="refuse")
    with running(tmp_path, policy(fake, timeouts=PATIENT)) as service:
        began = time.monotonic()
        answer = service.post(CHAT, chat(stream=stream))
        assert time.monotonic() - began < SOON_S
        assert (answer.status_code, error_of(answer.content)["code"]) == (502, "upstream_failed")
        assert "No upstream accepts connections" in answer.text


def test_one_that_may_sleep_is_waited_for(fake: Fake, tmp_path: Path) -> None:
    fake.become(fault="refuse", seconds=0)
    sleepy = policy(fake, timeouts=PATIENT).replace(f'"{fake.url}"', f'"{fake.url}", may_sleep: true')
    with running(tmp_path, sleepy) as service:
        waker = threading.Timer(1.0, lambda: fake.become(fault=""))
        waker.start()
        assert service.post(CHAT, chat()).status_code == 200
        waker.join()


@pytest.mark.parametrize(("fault", "status"), [("html_404", 404), ("text_413", 413)])
@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_that_is_no_json_is_put_in_words(town: Town, fault: str, status: int, *, stream: bool) -> None:
    town.one.become(fault=fault)
    answer = town.service.post(CHAT, chat(stream=stream))
    assert (answer.status_code, error_of(answer.content)["code"]) == (status, "upstream_refused")
    assert answer.headers["content-type"] == "application/json"
    assert "starting" not in answer.text
    town.one.become(fault="")
    assert text(town.service) == GOOD_TEXT


def text(service: Service) -> str:
    return str(service.post(CHAT, chat()).json()["choices"][0]["message"]["content"])


def test_warm_tells_what_it_waits_for(fake: Fake, tmp_path: Path) -> None:
    fake.become(fault="refuse")
    with running(tmp_path, policy(fake, timeouts=PATIENT)) as service:
        ended = ringfence(tmp_path, "warm", "--port", str(service.port), "--wait", "2.5")
        assert ended.returncode == 1
        assert "waits up to 2.5 s for up-1: failing, refused: nobody listens at its address and port" in ended.stderr
        assert "nobody listens" in ended.stdout


def test_warms_whose_callers_left_are_over_and_those_that_wait_are_counted(fake: Fake, tmp_path: Path) -> None:
    fake.become(fault="loading")
    with running(tmp_path, policy(fake, timeouts=PATIENT)) as service:
        with ExitStack() as impatient:
            for _ in range(80):  # more than may wait: the question below takes a place too
                sock = impatient.enter_context(socket.create_connection(("127.0.0.1", service.port)))
                sock.sendall(b"GET /warm?wait=600 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            until(lambda: service.get("/warm?wait=0").status_code == 429, 40, "64 wait at once, and no more")
        until(lambda: service.get("/warm?wait=0").status_code == 503, 40, "all of them have left")
