"""Many at once: no answer is mixed with another's, and what is beyond a tier's places is told to come back."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx

from tests.e2e.conftest import Town
from tests.e2e.conversations import CHAT, chat, data_of, error_of, text_of

TIMEOUTS = "{connect: 5s, first_token: 20s, between_tokens: 20s, total: 40s}"
MANY = 150


async def ask(client: httpx.AsyncClient, town: Town, name: str, *, stream: bool) -> httpx.Response:
    return await client.post(town.service.url + CHAT, json=chat(name, stream=stream))


async def ask_all(town: Town, number: int, *, stream: bool) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=60, trust_env=False, limits=limits) as client:
        return await asyncio.gather(*(ask(client, town, f"mine-{at}-", stream=stream) for at in range(number)))


async def test_streams_are_never_mixed(town: Town) -> None:
    town.one.become(text="{prompt}", tokens=8, delay_s=0.03)
    answers = await ask_all(town, MANY, stream=True)
    assert Counter(answer.status_code for answer in answers) == {200: MANY}
    for at, answer in enumerate(answers):
        data = data_of(answer.content)
        assert (text_of(data), data[-1]) == ("".join(f"mine-{at}-{word} " for word in range(8)), "[DONE]")
    ids = Counter(answer.headers["x-ringfence-record"] for answer in answers)
    assert max(ids.values()) == 1
    assert len(town.service.settled(MANY)) >= MANY


async def test_whole_answers_are_never_mixed(town: Town) -> None:
    town.one.become(text="{prompt}", tokens=2)
    answers = await ask_all(town, MANY, stream=False)
    wanted = [f"mine-{at}-0 mine-{at}-1 " for at in range(MANY)]
    assert [answer.json()["choices"][0]["message"]["content"] for answer in answers] == wanted


async def test_beyond_places_and_queue_clients_are_told_to_come_back(town: Town) -> None:
    """64 places and 128 to wait in each of two tiers: of 500 some are refused, well-formed, and none is lost."""
    town.one.become(tokens=1, delay_s=1.5)
    town.two.become(tokens=1, delay_s=1.5)
    answers = await ask_all(town, 500, stream=False)
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses.keys() == {200, 429}
    assert statuses[200] >= 128
    for answer in answers:
        if answer.status_code == 429:
            assert error_of(answer.content)["code"] == "upstreams_busy"
            assert int(answer.headers["retry-after"]) >= 1
    town.service.settled()
    assert town.service.rows()["gate"]["restarts"] == 0
