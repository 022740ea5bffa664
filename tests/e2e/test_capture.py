"""Sealed capture: what the policy file names is kept for the reviewer's eyes, or does not pass at all."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conversations import CHAT, chat, data_of, error_of, policy, text_of, wait_until_ready
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, ringfence, running

CANARY = "CaNaRy91d2"
ALL = "capture: {models: [coder]}\n"


def prepare(directory: Path) -> Path:
    """The reviewer's pair, made elsewhere; the operator gets the public half. The secret half's file."""
    assert ringfence(directory, "audit", "keygen", "--out", "review").returncode == 0
    (directory / "ledger").mkdir(mode=0o700)
    (directory / "review" / "reviewer.pub").rename(directory / "ledger" / "reviewer.pub")
    return directory / "review" / "reviewer.key"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[tuple[Service, Fake]]:
    prepare(tmp_path)
    with fake_upstream() as fake, running(tmp_path, policy(fake, more=ALL)) as service:
        wait_until_ready(service)
        yield service, fake


def audit(service: Service, *words: str) -> tuple[int, str]:
    done = ringfence(service.directory, "audit", *words, "ledger", "--key", "review/reviewer.key")
    return done.returncode, done.stdout + done.stderr


def sealed_files(service: Service) -> list[Path]:
    return sorted((service.ledger / "captures").rglob("*.sealed"))


def test_the_reviewer_reads_what_passed_and_nobody_else_can(house: tuple[Service, Fake]) -> None:
    """From the first prompt to the erasure: nothing but the reviewer's key ever shows a word of it."""
    service, fake = house
    fake.become(text=f"{CANARY}answer")
    whole = service.post(CHAT, chat(f"{CANARY}prompt"), headers={"X-Request-ID": "whole-1"})
    streamed = service.post(CHAT, chat(f"{CANARY}prompt", stream=True), headers={"X-Request-ID": "stream-1"})
    said = json.loads(whole.content)["choices"][0]["message"]["content"]
    heard = text_of(data_of(streamed.content))
    assert CANARY in said
    assert CANARY in heard
    outcomes = service.settled(2)
    assert [set(record["body"]) >= {"capture", "answer_mac"} for record in outcomes] == [True, True]
    assert len(sealed_files(service)) == 4

    for request, words in (("whole-1", said), ("stream-1", f"{CANARY}answer")):
        code, shown = audit(service, "open", request)
        assert code == 0
        assert f"{CANARY}prompt" in shown
        assert words in shown
    assert said == heard
    (service.directory / "said").write_text(said)
    code, shown = audit(service, "match", "said")
    assert (code, shown.count("answer of")) == (0, 2)
    (service.directory / "said").unlink()

    for path in service.directory.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path
    service.stop()
    for day in (service.ledger / "captures").iterdir():
        assert "destroyed" in ringfence(service.directory, "audit", "erase", day.name, "ledger").stdout
    assert sealed_files(service) == []
    assert "was erased" in audit(service, "open", "whole-1")[1]
    assert service.verify().returncode == 0


def test_who_is_not_named_is_not_kept(tmp_path: Path) -> None:
    prepare(tmp_path)
    keys = {name: ringfence(tmp_path, "keys", "create", name).stdout.strip() for name in ("alice", "bob")}
    more = "callers: {file: keys.yaml}\ncapture: {callers: [alice]}\n"
    with fake_upstream() as fake, running(tmp_path, policy(fake, more=more)) as service:
        wait_until_ready(service)
        for key in keys.values():
            assert service.post(CHAT, chat(), headers={"Authorization": f"Bearer {key}"}).status_code == 200
        service.settled(2)
        kept = {record["body"]["caller"]: "capture" in record["body"] for record in service.records("decision")}
        assert kept == {"alice": True, "bob": False}
        assert len(sealed_files(service)) == 2


def test_what_cannot_be_sealed_is_not_sent(house: tuple[Service, Fake]) -> None:
    service, fake = house
    (service.ledger / "captures").write_text("no folder can be made here")
    for stream in (False, True):
        answer = service.post(CHAT, chat(stream=stream))
        assert (answer.status_code, error_of(answer.content)["code"]) == (503, "audit_unavailable")
    assert fake.asked() == []
    (service.ledger / "captures").unlink()
    assert service.post(CHAT, chat()).status_code == 200


def test_an_answer_that_cannot_be_sealed_never_looks_whole(house: tuple[Service, Fake]) -> None:
    """The disk takes the prompt and some of the answer, and then no more."""
    service, fake = house
    fake.become(text="x" * 20_000)
    resource.prlimit(service.pids()["gate"], resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
    assert service.post(CHAT, chat()).status_code == 503
    fake.become(text="x" * 20_000, delay_s=0.05)
    streamed = service.post(CHAT, chat(stream=True))
    assert "[DONE]" not in data_of(streamed.content)
    assert error_of(data_of(streamed.content)[-1])["code"]
    outcomes = service.settled(2)
    assert {record["body"]["ending"] for record in outcomes} == {"audit_unavailable"}
    assert not any("capture" in record["body"] for record in outcomes)


def test_a_stream_that_the_client_leaves_is_kept_as_far_as_it_came(house: tuple[Service, Fake]) -> None:
    service, fake = house
    fake.become(text=f"{CANARY} ", tokens=100, delay_s=0.05)
    url, document = service.url + CHAT, chat(stream=True)
    with service.client.stream("POST", url, json=document, headers={"X-Request-ID": "left-1"}) as answer:
        for piece in answer.iter_raw():
            if CANARY.encode() in piece:
                break
    outcome = service.settled(1)[0]["body"]
    assert outcome["ending"] == "client_left"
    assert CANARY in audit(service, "open", "left-1")[1]


def test_with_the_reviewers_key_at_hand_nothing_is_captured_and_nothing_sent(tmp_path: Path) -> None:
    """That the service cannot read it back would be untrue."""
    key = tmp_path / "reviewer.key"
    with fake_upstream() as fake:
        (tmp_path / "policy.yaml").write_text(policy(fake, more=ALL))
        refused = ringfence(tmp_path, "serve", "--config", "policy.yaml", "--port", "0")
        assert refused.returncode == 1
        assert "move reviewer.key to the reviewer's machine" in refused.stdout + refused.stderr
        (tmp_path / "ledger" / "reviewer.key").rename(key)
        with running(tmp_path, policy(fake, more=ALL)) as service:
            wait_until_ready(service)
            assert service.post(CHAT, chat()).status_code == 200
            key.rename(service.ledger / "reviewer.key")
            assert error_of(service.post(CHAT, chat()).content)["code"] == "audit_unavailable"
            assert len(fake.asked()) == 1
