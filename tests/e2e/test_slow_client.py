"""A slow client slows the upstream; neither worker nor gate fills its memory for it."""

from __future__ import annotations

import time

from tests.e2e.conftest import Town
from tests.e2e.conversations import chat, data_of, raw_client, text_of
from tests.service import resident_bytes

TIMEOUTS = "{connect: 1s, first_token: 10s, between_tokens: 10s, total: 60s}"
TOKENS = 400
TEXT = "x" * 50_000  # 20 MB in all
MOST_GROWTH = 8_000_000


def test_back_pressure_reaches_the_upstream_and_memory_stays(town: Town) -> None:
    town.one.become(text=TEXT, tokens=TOKENS)
    pids = town.service.pids()
    before = {name: resident_bytes(pid) for name, pid in pids.items()}
    with raw_client(town.service, receive_buffer=64 * 1024) as client:
        client.ask(chat(stream=True))
        client.head()
        time.sleep(1.5)  # nobody reads
        held = town.one.asked()[0]["generated"]
        time.sleep(0.5)
        growth = {name: resident_bytes(pid) - before[name] for name, pid in pids.items()}
        assert town.one.asked()[0]["generated"] == held, "the upstream waits for the client"
        assert held < TOKENS
        assert max(growth.values()) < MOST_GROWTH, growth
        data = data_of(b"".join(client.chunks()))
    assert data[-1] == "[DONE]"
    assert text_of(data).count("x") == TOKENS * len(TEXT)


def test_others_are_served_meanwhile(town: Town) -> None:
    town.one.become(text=TEXT, tokens=TOKENS)
    with raw_client(town.service, receive_buffer=64 * 1024) as client:
        client.ask(chat(stream=True))
        client.head()
        time.sleep(0.3)
        town.one.become(text="word", tokens=5)
        answer = town.service.post("/v1/chat/completions", chat())
        assert answer.status_code == 200
    town.service.settled()
