"""After the first content byte nothing is retried: the stream ends in an error event, and never looks complete."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Town
from tests.e2e.conversations import CHAT, chat, data_of, error_of, text_of

# What happens in mid-stream -> how the exchange ends in the ledger.
CUTS = {
    "reset_mid_event": "upstream_broke",
    "reset_before_done": "upstream_broke",
    "close_before_done": "upstream_broke",
    "stall": "between_tokens_timeout",
}


@pytest.mark.parametrize("fault", CUTS)
def test_a_cut_stream_ends_in_an_error_event_without_done(town: Town, fault: str) -> None:
    town.one.become(fault=fault)
    answer = town.service.post(CHAT, chat(stream=True))
    *good, last = data_of(answer.content)
    assert answer.status_code == 200
    assert text_of(good).startswith("word0 word1 ")
    assert error_of(last)["code"] == "upstream_failed"
    assert "[DONE]" not in answer.text
    assert town.two.asked() == []
    outcome = town.service.settled()[-1]
    assert outcome["body"]["ending"] == CUTS[fault]


def test_no_half_event_is_ever_passed_on(town: Town) -> None:
    town.one.become(fault="reset_mid_event")
    answer = town.service.post(CHAT, chat(stream=True))
    assert "word2" not in answer.text


def test_a_stream_without_end_stops_at_the_tiers_total(town: Town) -> None:
    town.one.become(fault="endless_stream", delay_s=0.2)
    answer = town.service.post(CHAT, chat(stream=True))
    *good, last = data_of(answer.content)
    assert len(good) > 20
    assert error_of(last)["code"] == "upstream_failed"
    assert town.service.settled()[-1]["body"]["ending"] == "total_timeout"
    [seen] = town.one.wait_until(lambda asked: asked[0]["ending"] != "open")
    assert seen["ending"] == "client_left"
