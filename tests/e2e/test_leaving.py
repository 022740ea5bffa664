"""A client that leaves stops the upstream's generation, in every phase, and never counts against the upstream."""

from __future__ import annotations

import time

import pytest

from tests.e2e.conftest import Town
from tests.e2e.conversations import CHAT, all_ready, chat, raw_client
from tests.service import until

WITHIN_S = 1.0

# (phase, stream, how the upstream behaves); each would generate for a minute.
PHASES = [
    ("before the head", True, {"first_delay_s": 60.0}),
    ("before the head", False, {"first_delay_s": 60.0}),
    ("before the first byte", True, {"fault": "stall_before_first_byte"}),
    ("before the first byte", False, {"fault": "stall_before_first_byte"}),
    ("in mid-answer", True, {"tokens": 600, "delay_s": 0.1}),
    ("in mid-answer", False, {"fault": "stall"}),
    ("while it generates", False, {"tokens": 600, "delay_s": 0.1}),
]
# These upstreams are slow on purpose: no time-out of ours may come before the client's leaving.
TIMEOUTS = "{connect: 1s, cold_start: 60s, first_token: 60s, between_tokens: 60s, total: 90s}"


@pytest.mark.parametrize(("phase", "stream", "behaviour"), PHASES)
def test_the_upstream_stops_at_once(town: Town, phase: str, behaviour: dict[str, object], *, stream: bool) -> None:
    town.one.become(**behaviour)
    with raw_client(town.service) as client:
        client.ask(chat(stream=stream))
        town.one.wait_until(bool)
        if stream and phase == "in mid-answer":
            client.head()
            next(client.chunks())
        else:
            time.sleep(0.15)
        left = client.leave()
    [seen] = town.one.wait_until(lambda asked: asked[0]["ending"] != "open")
    assert seen["ending"] == "client_left"
    assert time.time() - left < WITHIN_S
    generated = seen["generated"]
    time.sleep(0.25)
    assert town.one.asked()[0]["generated"] == generated
    assert town.service.settled()[-1]["body"]["ending"] == "client_left"
    assert town.two.asked() == []
    assert all_ready(town.service), "a leaving client is no failure of the upstream"


def test_many_that_leave_free_their_places(town: Town) -> None:
    """More leavers than the tier has places: had any kept its place, the next one would wait."""
    town.one.become(first_delay_s=60.0)
    for _ in range(3):
        clients = [raw_client(town.service) for _ in range(30)]
        opened = [client.__enter__() for client in clients]
        for client in opened:
            client.ask(chat())
        for client in opened:
            client.leave()
    town.one.become(first_delay_s=0.0)
    until(lambda: town.service.post(CHAT, chat()).status_code == 200, 3, "a place is free")
    town.service.settled()


def test_a_client_that_leaves_inside_its_own_request_is_no_matter(town: Town) -> None:
    with raw_client(town.service) as client:
        client.sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
        client.leave()
    assert town.service.post(CHAT, chat()).status_code == 200
    assert len(town.one.asked()) == 1
    assert "Traceback" not in town.service.log()


def test_an_early_end_of_reading_as_deepsite_does_it(town: Town) -> None:
    """GBcui/DeepSiteForOpenAI stops reading at </html>: the rest must not be generated for nobody."""
    town.one.become(text="</html>", tokens=600, delay_s=0.05)
    with town.service.client.stream("POST", town.service.url + CHAT, json=chat(stream=True)) as answer:
        for line in answer.iter_lines():
            if "</html>" in line:
                break
    [seen] = town.one.wait_until(lambda asked: asked[0]["ending"] != "open")
    assert (seen["ending"], seen["generated"] < 60) == ("client_left", True)
