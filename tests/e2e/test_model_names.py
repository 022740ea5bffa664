"""What a client calls a model: an alias, nothing, a name whose rules choose; each finds the machine that serves it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conversations import CHAT, chat, wait_until_ready
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, running

PNG = "data:image/png;base64,iVBORw0KGgo="
POLICY = """
version: 1
listen: {{workers: 1}}
upstreams:
  small: {{url: "{small}"}}
  big: {{url: "{big}"}}
models:
  auto:
    aliases: [gpt-4o, "org/name:*"]
    auto:
      - {{when: {{images: true}}, use: big-model}}
      - {{when: {{prompt_over: 500}}, use: big-model}}
      - {{use: small-model}}
  small-model: {{tiers: [small], served: {{small: tiny}}}}
  big-model: {{tiers: [big]}}
"""
PICTURE = [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": PNG}}]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Fake, Fake]]:
    with fake_upstream() as small, fake_upstream() as big:
        with running(tmp_path_factory.mktemp("names"), POLICY.format(small=small.url, big=big.url)) as service:
            wait_until_ready(service)
            yield service, small, big


@pytest.mark.parametrize(
    ("model", "content", "chosen"),
    [
        ("auto", "hello", "small-model"),
        ("", "hello", "small-model"),
        ("gpt-4o", "hello", "small-model"),
        ("org/name:novita", "x" * 501, "big-model"),
        ("auto", PICTURE, "big-model"),
        ("small-model", "x" * 501, ""),
    ],
)
def test_each_to_its_model(model: str, content: object, chosen: str, house: tuple[Service, Fake, Fake]) -> None:
    service, _, big = house
    big_before = len(big.asked())
    body = {**chat(), "model": model, "messages": [{"role": "user", "content": content}]}
    answer = service.post(CHAT, body)
    assert answer.status_code == 200, answer.text
    assert answer.headers.get("x-ringfence-model", "") == chosen
    assert answer.headers["x-ringfence-tier"] == ("big" if chosen == "big-model" else "small")
    assert len(big.asked()) - big_before == (chosen == "big-model")
    record = service.records("decision")[-1]["body"]
    assert (record["model"], record["served_model"]) == (
        ("big-model", "big-model") if chosen == "big-model" else ("small-model", "tiny")
    )


@pytest.mark.parametrize("model", ["org/name", "org/other:novita", "GPT-4O", "tiny"])
def test_no_other_name_is_understood(model: str, house: tuple[Service, Fake, Fake]) -> None:
    service = house[0]
    answer = service.post(CHAT, {**chat(), "model": model})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert model in answer.json()["error"]["message"]


def test_the_list_holds_what_may_be_asked_for(house: tuple[Service, Fake, Fake]) -> None:
    service = house[0]
    names = [row["id"] for row in service.get("/v1/models").json()["data"]]
    assert set(names) == {"auto", "small-model", "big-model"}
    assert service.get("/v1/models/org/name:x").status_code == 200
    assert service.get("/v1/models/tiny").status_code == 404
