"""The moment a program behind an upstream dies: its clients are told to come again, or another answers; never 502."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_managed import Programs, ask, lives
from tests.networks import NETWORKS
from tests.service import running, until


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


def kill_last(programs: Programs) -> int:
    _, pid = programs.events("started")[-1]
    os.kill(pid, signal.SIGKILL)
    return pid


def is_told_to_come_again(answer: httpx.Response) -> bool:
    assert answer.status_code in {200, 503}, answer.text  # 200: it runs again already
    if answer.status_code == 503:
        assert answer.json()["error"]["code"] == "upstreams_unavailable"
        assert int(answer.headers["retry-after"]) >= 1
    return answer.status_code == 503


@NETWORKS
@pytest.mark.parametrize("alone", [True, False], ids=["socket", "port"])
def test_one_that_died_while_idle_is_no_bad_gateway(alone: bool, programs: Programs, tmp_path: Path) -> None:
    programs.add("one", alone=alone)
    with running(tmp_path, programs.policy()) as service:
        assert ask(service, "one").status_code == 200
        pid = kill_last(programs)
        until(lambda: not lives(pid), 10, "dead")
        is_told_to_come_again(ask(service, "one"))
        until(lambda: ask(service, "one").status_code == 200, 30, "started again")
        service.settled()
        assert service.verify().returncode == 0


@NETWORKS
@pytest.mark.parametrize("alone", [True, False], ids=["socket", "port"])
def test_one_that_dies_while_it_answers_is_no_bad_gateway(alone: bool, programs: Programs, tmp_path: Path) -> None:
    programs.add("one", "--answer", "30", alone=alone)
    with running(tmp_path, programs.policy()) as service:
        answers: list[httpx.Response] = []
        asking = [threading.Thread(target=lambda: answers.append(ask(service, "one"))) for _ in range(3)]
        for thread in asking:
            thread.start()
        until(lambda: len(programs.events("asked")) == 3, 30, "all are being answered")
        kill_last(programs)
        for thread in asking:
            thread.join(60)
        assert [is_told_to_come_again(answer) for answer in answers] == [True] * 3
        assert {row["body"]["ending"] for row in service.settled()} == {"cold"}
        assert service.verify().returncode == 0


def test_another_tier_answers_in_its_place(programs: Programs, tmp_path: Path) -> None:
    programs.add("one", "--answer", "30")
    programs.add("sound")
    text = programs.policy().replace("  one: {tiers: [one]}", "  one: {tiers: [one, sound]}")
    with running(tmp_path, text) as service:
        assert ask(service, "sound").status_code == 200
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(ask(service, "one")))
        asking.start()
        until(lambda: len(programs.events("asked")) == 2, 30, "it is being answered")
        kill_last(programs)
        asking.join(60)
        assert (answers[0].status_code, answers[0].headers["x-ringfence-tier"]) == (200, "sound")
        service.settled()
