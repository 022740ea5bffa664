"""`/admin/narrow` and `ringfence narrow`: an operator takes away from a running service, and nobody gives back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conversations import CHAT, all_ready, chat, error_of, policy
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, ringfence, running, until

NARROW = "/admin/narrow"


class Narrowed:
    """A service with two upstreams and two workers, with a key for an operator and one for a caller."""

    def __init__(self, service: Service, keys: dict[str, str], fakes: tuple[Fake, Fake]) -> None:
        self.service = service
        self.fakes = fakes
        self._keys = keys

    def post(self, document: object, who: str = "op") -> httpx.Response:
        return self.service.post(NARROW, document, headers=self.as_(who))

    def now(self) -> dict[str, object]:
        found: dict[str, object] = self.service.get(NARROW, headers=self.as_("op")).json()
        return found

    def as_(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._keys[who]}"} if who else {}

    def answered_by(self) -> str:
        """Over a connection of its own: any worker."""
        answer = httpx.post(self.service.url + CHAT, json=chat(), headers=self.as_("bob"), timeout=20, trust_env=False)
        return answer.headers.get("x-ringfence-upstream") or str(error_of(answer.content)["code"])

    def admin(self) -> list[dict[str, str]]:
        return [row["body"] for row in self.service.records("admin") if row["body"]["action"] == "narrow"]


def killed_and_back(service: Service, victim: str) -> None:
    before = service.pids()[victim]
    service.kill(victim)
    until(lambda: service.pids().get(victim, before) != before, 20, "another")
    until(lambda: all(row["state"] == "ready" for row in service.rows().values()), 20, "all are back")
    until(lambda: service.health()["status"] == "healthy", 20, "served")


@pytest.fixture
def narrowed(tmp_path: Path) -> Iterator[Narrowed]:
    made = {
        name: json.loads(ringfence(tmp_path, "keys", "create", name, *more, "--json").stdout)["key"]
        for name, *more in (["bob"], ["op", "--operator"])
    }
    with fake_upstream() as one, fake_upstream() as two:
        text = policy(one, two).replace("workers: 1", "workers: 2") + "\ncallers: {file: keys.yaml}\n"
        with running(tmp_path, text) as service:
            until(lambda: all_ready(service), 20, "ready")
            yield Narrowed(service, made, (one, two))


def test_an_operator_takes_away_and_every_process_serves_by_it(narrowed: Narrowed) -> None:
    service = narrowed.service
    assert narrowed.now() == {"without": [], "reach": "rented", "unlisted": {}}
    answer = narrowed.post({"without": ["up-1"] * 1500})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["without"], answer.json()["reach"]) == (["up-1"], "rented")
    assert {narrowed.answered_by() for _ in range(12)} == {"up-2"}
    assert service.health()["reload"]["by"] == "admin API: op"
    for victim in ("worker-0", "worker-1", "gate"):  # what is started again serves by it too
        killed_and_back(service, victim)
    assert {narrowed.answered_by() for _ in range(8)} == {"up-2"}
    assert narrowed.now()["without"] == ["up-1"]
    assert ringfence(service.directory, "reload").returncode == 0  # as with the local command: it stays
    assert narrowed.now()["without"] == ["up-1"]
    assert narrowed.post({"reach": "process"}).json()["reach"] == "process"
    assert narrowed.answered_by() == "policy_denied"
    assert ringfence(service.directory, "narrow", "--reach", "host").returncode == 1  # by the other way: no wider
    assert ringfence(service.directory, "reload", "--lift").returncode == 0
    assert narrowed.now() == {"without": [], "reach": "rented", "unlisted": {}}
    until(lambda: {narrowed.answered_by() for _ in range(8)} >= {"up-1"}, 20, "it is back")
    told = [(row["actor"], row["target"], row["result"]) for row in narrowed.admin()]
    assert told == [
        ("admin API: op", "without up-1", "taken"),
        ("admin API: op", "reach process", "taken"),
        ("ringfence narrow", "", "refused: wider_than_in_force"),
    ]
    service.settled()
    assert service.verify().returncode == 0


def test_nobody_else_does_and_nothing_is_widened(narrowed: Narrowed) -> None:
    assert narrowed.post({"without": ["up-1"]}, "").status_code == 401
    refused = narrowed.post({"without": ["up-1"]}, "bob")
    assert (refused.status_code, error_of(refused.content)["code"]) == (403, "operator_needed")
    [denial] = narrowed.service.records("denial")
    assert (denial["body"]["caller"], denial["body"]["endpoint"]) == ("bob", "narrow")
    assert denial["body"]["reason"] == "operator_needed"
    assert refused.headers["x-ringfence-record"] == str(denial["i"])
    before = narrowed.service.health()["policy"]
    cases: list[tuple[object, int, str]] = [
        ({"without": ["nobody"]}, 404, "upstream_not_found"),
        ({"without": ["up-1", "http://10.0.0.1:80/v1"]}, 404, "upstream_not_found"),
        ({"reach": "moon"}, 400, "invalid_request"),
        ({"reach": "rented"}, 400, "invalid_request"),
        ({}, 400, "invalid_request"),
        ({"with": ["up-1"]}, 400, "invalid_request"),
        ({"lift": True}, 400, "invalid_request"),
        ({"upstreams": {"up-9": {"url": "http://127.0.0.1:1/v1"}}}, 400, "invalid_request"),
        ({"without": "up-1"}, 400, "invalid_request"),
        ({"without": ["up-1"], "reach": None}, 400, "invalid_request"),
        (["up-1"], 400, "invalid_json"),
    ]
    for document, status, code in cases:
        answer = narrowed.post(document)
        assert (answer.status_code, error_of(answer.content)["code"]) == (status, code), (document, answer.text)
    broken = [b"{", b"", b'{"without":["\xff"]}', b'{"\xff":1}', b'{"without":["up-1"],"without":[]}', b"[" * 9000]
    for content in broken:
        raw = narrowed.service.post(NARROW, content=content, headers=narrowed.as_("op"))
        assert (raw.status_code, error_of(raw.content)["code"]) == (400, "invalid_json"), content
    raw = narrowed.service.post(NARROW, content=b" " * (16 * 1024 + 1), headers=narrowed.as_("op"))
    assert raw.status_code == 400
    assert narrowed.service.health()["policy"] == before
    assert narrowed.post({"reach": "host"}).status_code == 200
    for wider in ("network", "rented"):
        answer = narrowed.post({"reach": wider, "without": ["up-1"]})
        assert (answer.status_code, error_of(answer.content)["code"]) == (403, "would_widen")
    assert narrowed.now() == {"without": [], "reach": "host", "unlisted": {}}  # nothing of a refused order is done
    assert len(narrowed.service.records("denial")) == 1 + len(cases) + len(broken) + 1 + 2


def test_a_refused_warm_up_leaves_a_denial_too(narrowed: Narrowed) -> None:
    service = narrowed.service
    for path, endpoint, code in [
        ("/warm?tier=secret-word", "warm", "tier_not_found"),
        ("/warm?wait=never", "warm", "invalid_request"),
        ("/v1/models/secret-word", "model", "model_not_found"),
        ("/v1/receipts/99999", "receipt", "receipt_not_found"),
        ("/admin/upstreams", "upstreams", "operator_needed"),
    ]:
        answer = service.get(path, headers=narrowed.as_("bob"))
        assert error_of(answer.content)["code"] == code
        last = service.records("denial")[-1]
        assert answer.headers["x-ringfence-record"] == str(last["i"])
        assert (last["body"]["caller"], last["body"]["endpoint"], last["body"]["reason"]) == ("bob", endpoint, code)
        assert service.get(path).status_code == 401
    assert len(service.records("denial")) == 5
    assert "secret-word" not in json.dumps(service.records())
