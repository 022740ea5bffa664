"""No record, no request: when the ledger cannot be written, nothing is dialled and the client is told so."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conversations import CHAT, all_ready, chat, error_of, policy, wait_until_ready
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, events, running, until


@pytest.fixture
def house(tmp_path: Path) -> Iterator[tuple[Service, Fake]]:
    with fake_upstream() as fake, running(tmp_path, policy(fake)) as service:
        wait_until_ready(service)
        yield service, fake


def forbid_growth(service: Service) -> None:
    """From now on the gate cannot make a file larger than the smallest one that it writes: a disk that is full."""
    resource.prlimit(service.pids()["gate"], resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))


def test_a_ledger_that_cannot_be_written_stops_everything(house: tuple[Service, Fake]) -> None:
    service, fake = house
    assert service.post(CHAT, chat()).status_code == 200
    asked = len(fake.asked())
    forbid_growth(service)
    for stream in (False, True, False):
        answer = service.post(CHAT, chat(stream=stream))
        assert (answer.status_code, error_of(answer.content)["code"]) == (503, "audit_unavailable"), answer.text
        assert answer.headers["retry-after"]
    assert len(fake.asked()) == asked, "nothing was dialled"
    assert service.get("/livez").status_code == 200
    health = service.get("/health")
    assert (health.status_code, health.json()["status"]) == (503, "audit_unavailable")


def test_a_ledger_that_refuses_is_seen_by_whoever_watches(house: tuple[Service, Fake]) -> None:
    """A load balancer by /health, a person by GET /, an operator by one line of the log that names the cause."""
    service, fake = house
    in_the_way = service.ledger / "digests"
    in_the_way.write_text("no folder can be made here")
    for _ in range(3):
        assert error_of(service.post(CHAT, chat()).content)["code"] == "audit_unavailable"
    until(lambda: service.get("/health").status_code == 503, 5, "/health tells of it")
    health = service.get("/health")
    assert (health.json()["status"], health.json()["ready"]) == ("audit_unavailable", False)
    assert health.headers["retry-after"]
    assert service.get("/").json()["status"] == "audit_unavailable"
    [line] = events(service.log(), "ledger_refuses")
    assert (line["process"], line["reason"]) == ("gate", "the day's digest key cannot be written: File exists")
    assert fake.asked() == []
    in_the_way.unlink()
    until(lambda: service.get("/health").status_code == 200, 10, "it finds out by itself that this has passed")
    assert len(events(service.log(), "ledger_writes_again")) == 1
    assert service.post(CHAT, chat()).status_code == 200


def test_a_refusal_that_cannot_be_recorded_is_no_answer_either(house: tuple[Service, Fake]) -> None:
    service, _fake = house
    forbid_growth(service)
    service.post(CHAT, chat())
    answer = service.post(CHAT, {**chat(), "model": "nothing"})
    assert answer.status_code == 503


def test_another_gate_on_a_good_disk_goes_on_where_the_last_record_stands(house: tuple[Service, Fake]) -> None:
    service, _fake = house
    assert service.post(CHAT, chat()).status_code == 200
    forbid_growth(service)
    assert service.post(CHAT, chat()).status_code == 503
    service.kill("gate")
    until(lambda: service.rows()["gate"]["restarts"] == 1 and all_ready(service), 5, "another gate is ready")
    assert service.post(CHAT, chat()).status_code == 200
    service.settled()
    verdict = service.verify()
    assert verdict.returncode == 0, verdict.stdout
