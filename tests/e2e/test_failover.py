"""Before the first content byte the next upstream is asked, by cause; what is the client's own fault comes back."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Town
from tests.e2e.conversations import CHAT, GOOD_TEXT, chat, data_of, error_of, text_of, wait_until_ready

POLICY = "limits: {answer_bytes: 1000000}\n"

# What is wrong with the first upstream -> how its exchange ends in the ledger. In all of these the second one answers.
EITHER_WAY = {
    "refuse": "refused",
    "blackhole": "first_token_timeout",
    "reset_connect": "refused or upstream_broke",  # as the reset comes before or after our look at the connection
    "reset_headers": "upstream_broke",
    "reset_first_byte": "upstream_broke",
    "stall_before_head": "first_token_timeout",
    "stall_before_first_byte": "first_token_timeout",
    "garbage": "bad_answer",
    "html": "cold",
    "loading": "cold",
    "upgrade": "bad_answer",
    "gzip": "bad_answer",
    "two_lengths": "bad_answer",
    "length_and_chunked": "bad_answer",
    "giant_headers": "bad_answer",
    "many_headers": "bad_answer",
    "close_delimited": "bad_answer",
    **{f"redirect_{number}": "redirect" for number in (301, 302, 303, 307, 308)},
    "busy": "completed",  # the exchange did end well; its status says how it went
    **{f"status_{number}": "completed" for number in (401, 403, 408, 500, 502, 504)},
}
STREAMED = {**EITHER_WAY, "wrong_type": "completed", "endless_body": "bad_answer", "endless_event": "answer_too_large"}
WHOLE = {
    **EITHER_WAY,
    "wrong_type": "completed",  # as an exchange; the worker would not have it
    "endless_body": "answer_too_large",
    "endless_event": "bad_answer or answer_too_large",  # the worker asked for JSON; the gate looks at its size
    "endless_stream": "bad_answer",
    "stall": "between_tokens_timeout",
    "reset_mid_event": "upstream_broke",
    "reset_before_done": "upstream_broke",
    "close_before_done": "upstream_broke",
    "garbage_body": "completed",
}
THE_CLIENTS_OWN = [400, 404, 422]


def endings(town: Town, decisions: int) -> list[str]:
    """How the newest exchanges ended, oldest first."""
    town.service.settled()
    outcomes = sorted(town.service.records("outcome"), key=lambda record: int(record["body"]["decision"]))
    return [str(outcome["body"]["ending"]) for outcome in outcomes[-decisions:]]


@pytest.mark.parametrize("fault", STREAMED)
def test_a_stream_moves_on(town: Town, fault: str) -> None:
    town.one.become(fault=fault)
    answer = town.service.post(CHAT, chat(stream=True))
    data = data_of(answer.content)
    assert (answer.status_code, text_of(data), data[-1]) == (200, GOOD_TEXT, "[DONE]")
    assert (answer.headers["x-ringfence-upstream"], answer.headers["x-ringfence-attempts"]) == ("up-2", "2")
    first, second = endings(town, 2)
    assert (first in STREAMED[fault].split(" or "), second) == (True, "completed"), first
    assert len(town.two.asked()) == 1


@pytest.mark.parametrize("fault", WHOLE)
def test_a_whole_answer_moves_on(town: Town, fault: str) -> None:
    town.one.become(fault=fault)
    answer = town.service.post(CHAT, chat())
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == GOOD_TEXT
    assert (answer.headers["x-ringfence-upstream"], answer.headers["x-ringfence-attempts"]) == ("up-2", "2")
    first, second = endings(town, 2)
    assert (first in WHOLE[fault].split(" or "), second) == (True, "completed"), first
    assert len(town.two.asked()) == 1


@pytest.mark.parametrize("status", THE_CLIENTS_OWN)
@pytest.mark.parametrize("stream", [True, False])
def test_what_is_the_clients_own_fault_comes_back_unchanged(town: Town, status: int, *, stream: bool) -> None:
    town.one.become(fault=f"status_{status}")
    answer = town.service.post(CHAT, chat(stream=stream))
    assert answer.status_code == status
    assert error_of(answer.content)["message"] == f"status {status} says the fake"
    assert answer.headers["x-ringfence-upstream"] == "up-1"
    assert town.two.asked() == []
    assert endings(town, 1) == ["completed"]


# Both upstreams fail so -> what the client is told.
BOTH = [
    ("refuse", 502, "upstream_failed"),
    ("reset_headers", 502, "upstream_failed"),
    ("garbage", 502, "upstream_failed"),
    ("redirect_302", 502, "upstream_failed"),
    ("status_500", 502, "upstream_failed"),
    ("status_401", 502, "upstream_failed"),
    ("stall_before_head", 504, "upstream_timeout"),
    ("blackhole", 504, "upstream_timeout"),
    ("busy", 429, "upstreams_busy"),
    ("loading", 503, "upstreams_unavailable"),
]


@pytest.mark.parametrize(("fault", "status", "code"), BOTH)
@pytest.mark.parametrize("stream", [True, False])
def test_when_none_can_the_error_says_what_to_do(
    town: Town, fault: str, status: int, code: str, *, stream: bool
) -> None:
    town.one.become(fault=fault)
    town.two.become(fault=fault)
    answer = town.service.post(CHAT, chat(stream=stream))
    assert (answer.status_code, error_of(answer.content)["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    assert answer.headers["x-request-id"]
    assert "127.0.0.1" not in answer.text
    if fault == "busy":
        assert answer.headers["retry-after"] == "7"


def test_a_redirect_is_never_followed_and_its_target_never_told(town: Town) -> None:
    town.one.become(fault="redirect_307")
    town.two.become(fault="redirect_307")
    answer = town.service.post(CHAT, chat())
    assert answer.status_code == 502
    assert "location" not in answer.headers
    assert "203.0.113.7" not in answer.text + town.service.log() + str(town.service.records())


def test_a_failed_upstream_comes_back_by_itself(town: Town) -> None:
    town.one.become(fault="refuse")
    assert town.service.post(CHAT, chat()).headers["x-ringfence-upstream"] == "up-2"
    states = {row["name"]: row["state"] for rows in town.service.health()["tiers"].values() for row in rows}
    assert states == {"up-1": "failing", "up-2": "ready"}
    town.one.become(fault="")
    wait_until_ready(town.service)
    assert town.service.post(CHAT, chat()).headers["x-ringfence-upstream"] == "up-1"
