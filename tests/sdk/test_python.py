"""The openai package for Python, as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import openai
import pytest

from tests.e2e.conversations import GOOD_TEXT, MODEL
from tests.sdk.conftest import Shop
from tests.service import until


@pytest.fixture
def client(shop: Shop) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(base_url=shop.base_url, api_key=shop.key, max_retries=0, http_client=http) as one:
        yield one


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == GOOD_TEXT
    assert answer.usage is not None
    assert answer.usage.total_tokens == 8


@pytest.mark.parametrize("cut", ["", "split", "crlf", "no_space"])
def test_chat_streamed(shop: Shop, client: openai.OpenAI, cut: str) -> None:
    shop.fake.become(fault=cut)
    stream = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}], stream=True)
    assert "".join(event.choices[0].delta.content or "" for event in stream) == GOOD_TEXT


def test_completions_both_ways(client: openai.OpenAI) -> None:
    assert client.completions.create(model=MODEL, prompt="a").choices[0].text == GOOD_TEXT
    stream = client.completions.create(model=MODEL, prompt="a", stream=True)
    assert "".join(event.choices[0].text for event in stream) == GOOD_TEXT


def test_embeddings(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model=MODEL, input=["a", "b"], encoding_format="float")
    assert [row.embedding for row in answer.data] == [[0.6, 0.8], [0.6, 0.8]]


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL


def test_errors_are_the_sdks_own(shop: Shop, client: openai.OpenAI) -> None:
    hello: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nothing", messages=hello)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.AuthenticationError) as unknown:
        client.with_options(api_key="sk-wrong").models.list()
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=MODEL, messages=[])
    assert bad.value.param == "messages"
    shop.fake.become(fault="busy")
    with pytest.raises(openai.RateLimitError) as busy:
        client.chat.completions.create(model=MODEL, messages=hello)
    assert (busy.value.code, busy.value.response.headers["retry-after"]) == ("upstreams_busy", "7")
    shop.fake.become(fault="garbage")
    with pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(model=MODEL, messages=hello)
    assert (failed.value.status_code, failed.value.code) == (502, "upstream_failed")


def test_a_cut_stream_raises(shop: Shop, client: openai.OpenAI) -> None:
    shop.fake.become(fault="reset_mid_event")
    stream = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}], stream=True)
    seen: list[str | None] = []
    with pytest.raises(openai.APIError) as cut:
        seen.extend(event.choices[0].delta.content for event in stream)
    assert seen[:2] == ["word0 ", "word1 "] or seen == []
    assert "not complete" in cut.value.message


def test_closing_a_stream_stops_the_upstream(shop: Shop, client: openai.OpenAI) -> None:
    shop.fake.become(tokens=600, delay_s=0.05)
    stream = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}], stream=True)
    next(iter(stream))
    stream.close()
    until(lambda: shop.fake.asked()[0]["ending"] == "client_left", 2, "the upstream stopped")


async def test_many_at_once(shop: Shop) -> None:
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(base_url=shop.base_url, api_key=shop.key, max_retries=0, http_client=http) as one:
        asked = [
            one.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": str(number)}])
            for number in range(50)
        ]
        answers = await asyncio.gather(*asked)
    assert {answer.choices[0].message.content for answer in answers} == {GOOD_TEXT}
