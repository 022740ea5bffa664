"""Who may ask, from where, and how far a prompt travels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conversations import CHAT, chat, error_of, wait_until_ready
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, ringfence, running

# Two models before one upstream on this machine (reach: host); one of them may not leave the process.
POLICY = """\
version: 1
listen: {workers: 1}
upstreams: {up-1: {url: "%s"}}
tiers: [{name: tier-1, upstreams: [up-1]}]
models:
  coder: {tiers: [tier-1], served: {tier-1: "org/served-name"}}
  other: {tiers: [tier-1], reach: host}
"""


@pytest.fixture(scope="module")
def fake() -> Iterator[Fake]:
    with fake_upstream() as one:
        yield one


@pytest.fixture(scope="module")
def opened(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Without keys, on loopback."""
    with running(tmp_path_factory.mktemp("opened"), POLICY.replace("%s", fake.url)) as service:
        wait_until_ready(service)
        yield service


@pytest.fixture(scope="module")
def locked(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, dict[str, str]]]:
    """With the keys of three callers."""
    directory = tmp_path_factory.mktemp("locked")
    keys = {
        "alice": ringfence(directory, "keys", "create", "alice").stdout.strip(),
        "bob": ringfence(directory, "keys", "create", "bob", "--reach", "process").stdout.strip(),
        "carol": ringfence(directory, "keys", "create", "carol", "--model", "other").stdout.strip(),
    }
    policy = POLICY.replace("%s", fake.url) + "callers: {file: keys.yaml}\n"
    with running(directory, policy) as service:
        wait_until_ready(service)
        yield service, keys


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# --- without keys ---

FOREIGN = [
    {"Host": "evil.example"},
    {"Host": "evil.example:7860"},
    {"Host": "127.0.0.1.evil.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
]
LOCAL = [
    {},
    {"Host": "localhost"},
    {"Host": "LOCALHOST:1234"},
    {"Host": "[::1]:7860"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://127.0.0.1:3000"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("path", [CHAT, "/health", "/v1/models", "/"])
def test_a_foreign_page_cannot_ask_a_service_without_keys(
    opened: Service, fake: Fake, headers: dict[str, str], path: str
) -> None:
    fake.reset()
    answer = opened.post(path, chat(), headers=headers) if path == CHAT else opened.get(path, headers=headers)
    assert (answer.status_code, error_of(answer.content)["code"]) == (403, "host_not_allowed")
    assert "access-control-allow-origin" not in answer.headers
    assert fake.asked() == []


@pytest.mark.parametrize("headers", LOCAL, ids=str)
def test_this_machines_own_programs_can(opened: Service, headers: dict[str, str]) -> None:
    assert opened.post(CHAT, chat(), headers=headers).status_code == 200


def test_without_keys_any_authorization_is_taken_and_none_is_passed_on(opened: Service, fake: Fake) -> None:
    fake.reset()
    answer = opened.post(CHAT, chat(), headers={**bearer("sk-anything"), "Cookie": "a=b", "X-Secret": "s"})
    assert answer.status_code == 200
    [asked] = fake.asked()
    names = {name.lower() for name, _ in asked["headers"]}
    assert names == {
        "host",
        "user-agent",
        "accept-encoding",
        "accept",
        "content-type",
        "content-length",
        "x-request-id",
    }
    assert "sk-anything" not in json.dumps(asked)


def test_beyond_loopback_keys_are_needed(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY.replace("%s", fake.url))
    ended = ringfence(tmp_path, "serve", "--config", "policy.yaml", "--port", "0", "--host", "0.0.0.0")
    assert ended.returncode == 1
    assert "ringfence keys create" in ended.stderr
    assert not (tmp_path / "ledger").exists()


# --- with keys ---


def test_a_key_opens_and_names_its_caller(locked: tuple[Service, dict[str, str]]) -> None:
    service, keys = locked
    assert service.post(CHAT, chat(), headers=bearer(keys["alice"])).status_code == 200
    assert service.settled()
    assert service.records("decision")[-1]["body"]["caller"] == "alice"


def test_with_keys_the_host_does_not_matter(locked: tuple[Service, dict[str, str]]) -> None:
    service, keys = locked
    headers = {**bearer(keys["alice"]), "Host": "ringfence.lan.example"}
    assert service.post(CHAT, chat(), headers=headers).status_code == 200


def test_a_callers_ceiling_holds(locked: tuple[Service, dict[str, str]], fake: Fake) -> None:
    service, keys = locked
    fake.reset()
    answer = service.post(CHAT, chat(), headers=bearer(keys["bob"]))
    assert (answer.status_code, error_of(answer.content)["code"]) == (403, "policy_denied")
    assert fake.asked() == []
    assert service.records("denial")[-1]["body"]["caller"] == "bob"


def test_a_caller_sees_and_asks_for_its_own_models_only(locked: tuple[Service, dict[str, str]]) -> None:
    service, keys = locked
    listed = service.get("/v1/models", headers=bearer(keys["carol"])).json()
    assert [row["id"] for row in listed["data"]] == ["other"]
    assert service.get("/v1/models/coder", headers=bearer(keys["carol"])).status_code == 404
    assert service.post(CHAT, chat(), headers=bearer(keys["carol"])).status_code == 404
    assert service.post(CHAT, {**chat(), "model": "other"}, headers=bearer(keys["carol"])).status_code == 200


# --- reach ---


@pytest.mark.parametrize(("word", "status"), [("rented", 200), ("network", 200), ("host", 200), ("process", 403)])
def test_a_client_may_narrow(opened: Service, fake: Fake, word: str, status: int) -> None:
    fake.reset()
    answer = opened.post(CHAT, chat(), headers={"X-Ringfence-Reach": word})
    assert answer.status_code == status
    assert len(fake.asked()) == (status == 200)
    if status == 403:
        assert error_of(answer.content)["code"] == "policy_denied"
        assert answer.headers["x-ringfence-record"] == str(opened.records("denial")[-1]["i"])


def test_a_client_may_not_widen(locked: tuple[Service, dict[str, str]]) -> None:
    service, keys = locked
    headers = {**bearer(keys["bob"]), "X-Ringfence-Reach": "rented"}
    assert service.post(CHAT, chat(), headers=headers).status_code == 403


def test_the_upstream_is_asked_for_what_it_calls_the_model(opened: Service, fake: Fake) -> None:
    fake.reset()
    assert opened.post(CHAT, chat()).status_code == 200
    [asked] = fake.asked()
    assert json.loads(asked["body"])["model"] == "org/served-name"
    decision = opened.records("decision")[-1]["body"]
    assert (decision["model"], decision["served_model"], decision["reach"]) == ("coder", "org/served-name", "host")
