"""A cut stream goes on at another upstream, where the operator wishes it, and nothing hides that it did."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.conversations import CHAT, GOOD_TEXT, chat, data_of, error_of, policy, text_of, wait_until_ready
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, running


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Fake, Fake, Fake]]:
    """Three tiers; the first two are continued; only the third one's software can go on."""
    with fake_upstream() as one, fake_upstream() as two, fake_upstream() as three:
        text = policy(one, two, three).replace("upstreams: [up-1],", "upstreams: [up-1], continue: true,")
        text = text.replace("upstreams: [up-2],", "upstreams: [up-2], continue: true,")
        text = text.replace(f'"{three.url}"', f'"{three.url}", backend: llama_cpp')
        with running(tmp_path_factory.mktemp("continuing"), text) as service:
            yield service, one, two, three


@pytest.fixture(autouse=True)
def well(town: tuple[Service, Fake, Fake, Fake]) -> None:
    service, *fakes = town
    for fake in fakes:
        fake.reset()
    wait_until_ready(service)


@pytest.mark.parametrize("fault", ["reset_mid_event", "stall", "close_before_done"])
def test_the_rest_comes_from_the_next_that_can(town: tuple[Service, Fake, Fake, Fake], fault: str) -> None:
    service, one, two, three = town
    one.become(fault=fault)
    before = len(service.records("decision"))
    answer = service.post(CHAT, chat(stream=True))
    if fault == "close_before_done":  # it had said that it was done
        assert "upstream_failed" in answer.text
        return
    data = data_of(answer.content)
    assert (text_of(data), data[-1]) == (f"word0 word1 {GOOD_TEXT}", "[DONE]")
    assert b": cut here, continued by tier-3/up-3\n\n" in answer.content
    assert two.asked() == []
    assert json.loads(three.asked()[0]["body"])["messages"][-1] == {"role": "assistant", "content": "word0 word1 "}
    service.settled(before + 2)
    reasons = [record["body"]["reason"] for record in service.records("decision")[before:]]
    assert reasons == ["allowed", "continued"]


def test_what_cannot_be_continued_ends_in_an_error(town: tuple[Service, Fake, Fake, Fake]) -> None:
    service, one, _two, three = town
    one.become(fault="reset_mid_event")
    three.become(fault="status_500")
    data = data_of(service.post(CHAT, chat(stream=True)).content)
    assert error_of(data[-1])["code"] == "upstream_failed"
    three.become(fault="")
    wait_until_ready(service)
    with_tools = chat(stream=True, tools=[{"type": "function", "function": {"name": "f"}}])
    data = data_of(service.post(CHAT, with_tools).content)
    assert error_of(data[-1])["code"] == "upstream_failed"
