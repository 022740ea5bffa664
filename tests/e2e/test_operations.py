"""What the service says of itself, and what stands on every answer."""

from __future__ import annotations

import re

import pytest

from tests.e2e.conftest import Town
from tests.e2e.conversations import CHAT, MODEL, chat


@pytest.mark.parametrize("stream", [True, False])
def test_every_answer_says_who_gave_it(town: Town, *, stream: bool) -> None:
    answer = town.service.post(CHAT, chat(stream=stream), headers={"X-Request-ID": "story-1"})
    headers = answer.headers
    assert headers["x-request-id"] == "story-1"
    assert (headers["x-ringfence-tier"], headers["x-ringfence-upstream"]) == ("tier-1", "up-1")
    assert headers["x-ringfence-attempts"] == "1"
    assert re.fullmatch(r"upstream;dur=[0-9.]+", headers["server-timing"])
    record = town.service.records("decision")[-1]
    assert headers["x-ringfence-record"] == str(record["i"])
    assert record["body"]["request_id"] == "story-1"
    assert "server" not in headers
    [asked] = town.one.asked()
    assert ["X-Request-ID", "story-1"] in asked["headers"]


@pytest.mark.parametrize("given", ["", "two words", "a" * 65, "ä", "a\tb"])
def test_an_id_that_is_not_well_formed_is_replaced(town: Town, given: str) -> None:
    answer = town.service.post(CHAT, chat(), headers={"X-Request-ID": given.encode()})
    assert re.fullmatch(r"rf-[0-9a-f]{16}", answer.headers["x-request-id"])


def test_the_root_says_what_this_is(town: Town) -> None:
    root = town.service.get("/").json()
    assert (root["service"], root["model"], root["status"]) == ("ringfence", MODEL, "healthy")
    assert "/v1/chat/completions" in root["endpoints"]


def test_health_names_tiers_and_processes(town: Town) -> None:
    health = town.service.health()
    assert (health["status"], health["model"], health["ready"]) == ("healthy", MODEL, True)
    assert {row["name"]: row["state"] for row in health["processes"]} == {"gate": "ready", "worker-0": "ready"}
    assert list(health["tiers"]) == ["tier-1", "tier-2"]
    assert town.service.records("policy")[-1]["body"]["digest"] == health["policy"]


@pytest.mark.parametrize("path", ["/v1/models", "/models"])
def test_models_are_those_of_the_policy(town: Town, path: str) -> None:
    listed = town.service.get(path).json()
    assert listed["object"] == "list"
    assert [(row["id"], row["object"]) for row in listed["data"]] == [(MODEL, "model")]
    assert town.service.get(f"/v1/models/{MODEL}").json()["id"] == MODEL


def test_a_request_that_names_no_model_gets_the_default(town: Town) -> None:
    answer = town.service.post(CHAT, {"messages": [{"role": "user", "content": "hi"}]})
    assert answer.status_code == 200


def test_unknown_sampling_fields_are_the_upstreams_to_judge(town: Town) -> None:
    """DeepSite's forks send top_k and large max_tokens."""
    assert town.service.post(CHAT, chat(top_k=5, max_tokens=32_000, min_p=0.1)).status_code == 200
    [asked] = town.one.asked()
    assert all(word in asked["body"] for word in ('"top_k":5', '"max_tokens":32000', '"min_p":0.1'))


def test_completions_and_embeddings(town: Town) -> None:
    completed = town.service.post("/v1/completions", {"model": MODEL, "prompt": "a"})
    assert completed.json()["choices"][0]["text"].startswith("word0")
    embedded = town.service.post("/v1/embeddings", {"model": MODEL, "input": ["a", "b"]})
    assert [row["index"] for row in embedded.json()["data"]] == [0, 1]
    assert [row["path"] for row in town.one.asked()] == ["/v1/completions", "/v1/embeddings"]


def test_requests_on_one_connection_are_answered_in_order(town: Town) -> None:
    town.one.become(first_delay_s=0.1)
    for number in range(3):
        assert town.service.post(CHAT, chat(f"n{number}")).status_code == 200
        assert town.service.get("/livez").status_code == 200
