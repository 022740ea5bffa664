"""Whole events only, however an upstream cuts them, and nothing in them changed."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import Town
from tests.e2e.conversations import CHAT, GOOD_TEXT, chat, data_of, raw_client, text_of

CUTS = ["", "split", "trickle", "crlf", "cr", "shouting_type", "no_space", "stale", "slow_reader"]


@pytest.mark.parametrize("cut", CUTS)
def test_every_write_to_the_client_holds_whole_events(town: Town, cut: str) -> None:
    town.one.become(fault=cut)
    with raw_client(town.service) as client:
        client.ask(chat(stream=True))
        status, headers = client.head()
        chunks = list(client.chunks())
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    for chunk in chunks:
        assert chunk.startswith(b"data: ")
        assert chunk.endswith(b"\n\n")
    data = data_of(b"".join(chunks))
    assert text_of(data) == GOOD_TEXT
    assert data[-1] == "[DONE]"
    assert data.count("[DONE]") == 1


@pytest.mark.parametrize("cut", CUTS)
def test_a_whole_answer_arrives_as_it_was(town: Town, cut: str) -> None:
    town.one.become(fault=cut)
    answer = town.service.post(CHAT, chat())
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == GOOD_TEXT
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_events_arrive_while_the_upstream_still_generates(town: Town) -> None:
    town.one.become(tokens=6, delay_s=0.15)
    with raw_client(town.service) as client:
        client.ask(chat(stream=True))
        client.head()
        chunks = client.chunks()
        first = next(chunks)
        generated = town.one.asked()[0]["generated"]
        rest = b"".join(chunks)
    assert b"word0" in first
    assert generated < 6
    assert text_of(data_of(first + rest)) == "word0 word1 word2 word3 word4 word5 "


def test_an_upstream_that_reads_slowly_gets_the_whole_body(town: Town) -> None:
    town.one.become(fault="slow_reader")
    text = "long " * 4000
    answer = town.service.post(CHAT, chat(text))
    assert answer.status_code == 200
    [asked] = town.one.asked()
    assert json.loads(asked["body"])["messages"][0]["content"] == text


def test_content_bytes_are_never_altered(town: Town) -> None:
    """Follow-up edits of DeepSite stand and fall with exact text: SEARCH/REPLACE blocks, CRLF, odd Unicode."""
    text = "<<<<<<< SEARCH\r\n\tdata: x\n=======\n\u2028\u0000é🙂 \\n data:y\n>>>>>>> REPLACE"
    town.one.become(text=text, tokens=3)
    wanted = "".join(f"{text}{number} " for number in range(3))
    assert town.service.post(CHAT, chat()).json()["choices"][0]["message"]["content"] == wanted
    streamed = town.service.post(CHAT, chat(stream=True))
    assert text_of(data_of(streamed.content)) == wanted


def test_a_kept_connection_that_went_stale_is_replaced_without_the_client_noticing(town: Town) -> None:
    town.one.become(fault="stale")
    for _ in range(5):
        answer = town.service.post(CHAT, chat())
        assert (answer.status_code, answer.headers["x-ringfence-attempts"]) == (200, "1")
    assert len(town.one.asked()) == 5
    assert town.two.asked() == []


def test_kept_connections_are_used_again(town: Town) -> None:
    for _ in range(5):
        assert town.service.post(CHAT, chat()).status_code == 200
    assert len({row["connection"] for row in town.one.asked()}) == 1
