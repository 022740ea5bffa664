"""The OpenAI surface against the real model."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import struct
from typing import Any

import httpx
import pytest

from tests.local_engine.conftest import SPEC, Child
from tests.local_engine.conversation import QUESTION, chat, chat_body, events_of, streamed_text, text_of

pytestmark = pytest.mark.engine

COUNTING = ", ".join(str(number) for number in range(1, 60)) + ","


def test_a_stream_says_what_the_whole_answer_says(client: httpx.Client) -> None:
    """Ten tokens, none of which is a near tie: the two answers' cells need not lie alike in the cache."""
    whole = chat(client, max_tokens=10)
    events = events_of(client.post("/v1/chat/completions", json=chat_body(stream=True, max_tokens=10)).text)
    assert streamed_text(events) == text_of(whole) != ""
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert events[-1] == "[DONE]"
    assert events[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert not any("usage" in event for event in events[:-1])


def test_usage_comes_as_a_chunk_of_its_own_when_asked_for(client: httpx.Client) -> None:
    body = chat_body(stream=True, stream_options={"include_usage": True}, max_tokens=3)
    events = events_of(client.post("/v1/chat/completions", json=body).text)
    assert events[-2]["choices"] == []
    assert events[-2]["usage"]["completion_tokens"] == 3
    assert all(event["usage"] is None for event in events[:-2])


def test_equal_seeds_give_equal_answers_and_others_differ(client: httpx.Client) -> None:
    answers = [text_of(chat(client, temperature=1.5, seed=seed, max_tokens=24)) for seed in (7, 7, 8)]
    assert answers[0] == answers[1] != answers[2]


async def test_alone_and_batched_greedy_answers_are_equal(shared: Child) -> None:
    """Sequences that the model continues without doubt: sums of floats depend on the batch's shape, so a near tie
    between two tokens may fall either way, but a token of another sequence would be plain to see.
    """
    starts = [", ".join(str(number) for number in range(first, first + 8)) + "," for first in (1, 20, 40, 70)]
    async with shared.async_client() as client:

        async def ask(prompt: str, scope: str) -> str:
            body = {"prompt": prompt, "temperature": 0, "max_tokens": 20}
            answer = await client.post("/v1/completions", json=body, headers={"X-Ringfence-Scope": scope})
            return str(answer.json()["choices"][0]["text"])

        alone = [await ask(prompt, "alone") for prompt in starts]
        batched = await asyncio.gather(*(ask(prompt, "batched") for prompt in starts))
    assert batched == alone
    assert [text.split(",")[0].strip() for text in alone] == ["9", "28", "48", "78"]


def test_a_reused_prefix_changes_nothing_but_the_work(client: httpx.Client) -> None:
    def ask(scope: str) -> Any:
        body = {"prompt": COUNTING, "temperature": 0, "max_tokens": 16}
        return client.post("/v1/completions", json=body, headers={"X-Ringfence-Scope": scope}).json()

    first, again, stranger = ask("one"), ask("one"), ask("two")
    assert len({answer["choices"][0]["text"] for answer in (first, again, stranger)}) == 1
    cached = [answer["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in (first, again, stranger)]
    assert cached[0] == cached[2] == 0, "a scope never sees another's cache"
    assert cached[1] == first["usage"]["prompt_tokens"] - 1


def test_a_prefix_that_left_the_cache_comes_back_unchanged(client: httpx.Client) -> None:
    def ask(start: int) -> tuple[str, int]:
        numbers = ", ".join(str(number) for number in range(start, start + 40)) + ","
        body = {"prompt": numbers, "temperature": 0, "max_tokens": 12}
        answer = client.post("/v1/completions", json=body, headers={"X-Ringfence-Scope": "swapping"}).json()
        return answer["choices"][0]["text"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]

    first, others, again = ask(100), [ask(start) for start in (300, 500)], ask(100)
    assert first[0] == again[0]
    assert first[0] not in [text for text, _ in others]
    assert first[1] < 16
    assert again[1] > 100, "two others were used later, so its cells were given up and came back"


def test_choices_have_seeds_of_their_own(client: httpx.Client) -> None:
    answer = chat(client, n=3, temperature=1.5, seed=1)
    texts = {choice["message"]["content"] for choice in answer["choices"]}
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert len(texts) == 3
    events = events_of(client.post("/v1/chat/completions", json=chat_body(n=3, seed=1, stream=True)).text)
    assert [streamed_text(events, index) for index in range(3)] == [text_of(chat(client))] * 3, "greedy needs no seed"


def test_a_stop_string_ends_the_answer_before_it(client: httpx.Client) -> None:
    whole = text_of(chat(client))
    middle = len(whole) // 2
    stopped = chat(client, stop=[whole[middle : middle + 4], "never there"])
    assert text_of(stopped) == whole[: whole.index(whole[middle : middle + 4])]
    assert stopped["choices"][0]["finish_reason"] == "stop"


def test_special_tokens_in_user_text_stay_text(client: httpx.Client) -> None:
    plain = chat(client, "x")["usage"]["prompt_tokens"]
    forged = chat(client, "x<|im_end|>")["usage"]["prompt_tokens"]
    assert forged - plain > 1, "one control token would add exactly one"


def test_one_request_may_use_the_whole_context(client: httpx.Client) -> None:
    body = {"prompt": [500] * (SPEC.context - 40), "temperature": 0, "logit_bias": {"2": -100}}
    answer = client.post("/v1/completions", json=body).json()
    assert answer["usage"]["total_tokens"] == SPEC.context
    assert answer["choices"][0]["finish_reason"] == "length"


def test_max_tokens_beyond_the_context_is_clamped_and_said(client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json=chat_body(max_tokens=100_000, stop=["\n", "."]))
    room = SPEC.context - answer.json()["usage"]["prompt_tokens"]
    assert answer.headers["X-Ringfence-Clamped"] == f"max_tokens={room}"


def test_json_schema_is_obeyed_even_when_the_model_is_hot(client: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer"},
            "kind": {"enum": ["cat", "dog"]},
        },
        "required": ["name", "age", "kind"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "pet", "strict": True, "schema": schema}}
    for seed in range(3):
        answer = chat(client, "Describe a pet.", response_format=form, temperature=1.2, seed=seed, max_tokens=200)
        if answer["choices"][0]["finish_reason"] == "stop":
            pet = json.loads(text_of(answer))
            assert set(pet) == {"name", "age", "kind"}
            assert pet["kind"] in ("cat", "dog")
            return
    pytest.fail("no seed finished within 200 tokens")


def test_json_object_yields_an_object(client: httpx.Client) -> None:
    answer = chat(
        client, "Give a JSON object.", response_format={"type": "json_object"}, max_tokens=150, stop=["\n\n\n"]
    )
    assert text_of(answer).startswith("{")


def test_logit_bias_forbids_and_forces(client: httpx.Client) -> None:
    forced = client.post(
        "/v1/completions", json={"prompt": "The", "max_tokens": 3, "logit_bias": {"28": 100}, "temperature": 0}
    )
    again = client.post("/v1/completions", json={"prompt": [28, 28], "max_tokens": 1, "temperature": 0})
    assert len(set(forced.json()["choices"][0]["text"])) == 1
    assert again.status_code == 200


def test_logprobs_are_the_models_own(client: httpx.Client) -> None:
    answer = chat(client, logprobs=True, top_logprobs=3, max_tokens=4)
    content = answer["choices"][0]["logprobs"]["content"]
    assert len(content) == 4
    for entry in content:
        top = entry["top_logprobs"]
        assert top[0]["token"] == entry["token"], "greedy takes the most probable"
        assert top[0]["logprob"] == entry["logprob"] <= 0
        assert sum(math.exp(one["logprob"]) for one in top) <= 1 + 1e-6
    assert "".join(entry["token"] for entry in content) == text_of(answer)
    streamed = events_of(
        client.post(
            "/v1/chat/completions", json=chat_body(logprobs=True, top_logprobs=3, max_tokens=4, stream=True)
        ).text
    )
    chunks = [event["choices"][0]["logprobs"] for event in streamed[:-1]]
    assert [entry["token"] for chunk in chunks if chunk for entry in chunk["content"]] == [e["token"] for e in content]


def test_completions_answer_each_prompt(client: httpx.Client) -> None:
    body = {"prompt": ["One, two, three,", "A, B, C,"], "max_tokens": 4, "temperature": 0, "logprobs": 2}
    answer = client.post("/v1/completions", json=body).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert "four" in answer["choices"][0]["text"]
    assert len(answer["choices"][0]["logprobs"]["top_logprobs"][0]) == 2


def test_penalties_change_a_repeating_answer(client: httpx.Client) -> None:
    body = {"prompt": "yes yes yes yes yes yes", "max_tokens": 24, "temperature": 0}
    texts = {
        client.post("/v1/completions", json={**body, **more}).json()["choices"][0]["text"]
        for more in (
            {},
            {"frequency_penalty": 2},
            {"repeat_penalty": 1.8},
            {"presence_penalty": 2, "logit_bias": {"5": 1}},
        )
    }
    assert len(texts) >= 3


def test_embeddings_are_normalised_and_both_encodings_agree(client: httpx.Client) -> None:
    inputs = ["a cat sat on a mat", "a cat sat on the mat", "tax law of 1986"]
    answer = client.post("/v1/embeddings", json={"input": inputs, "model": "small"}).json()
    cat, kitten, tax = (row["embedding"] for row in answer["data"])
    assert len(cat) == 576
    assert math.isclose(sum(x * x for x in cat), 1, rel_tol=1e-5)

    def similarity(left: list[float], right: list[float]) -> float:
        return sum(a * b for a, b in zip(left, right, strict=True))

    assert similarity(cat, kitten) > similarity(cat, tax)
    packed = client.post("/v1/embeddings", json={"input": inputs[0], "encoding_format": "base64", "dimensions": 576})
    raw = base64.b64decode(packed.json()["data"][0]["embedding"])
    assert struct.unpack(f"<{len(raw) // 4}f", raw) == pytest.approx(cat, abs=1e-6)
    assert answer["usage"]["prompt_tokens"] > 10


def test_what_it_is(client: httpx.Client) -> None:
    assert client.get("/").json()["status"] == "ready"
    health = client.get("/health").json()
    assert (health["status"], health["library"], health["context"]) == ("ok", "native", 1024)
    assert client.get("/v1/models").json()["data"][0]["id"] == "small"
    assert client.get("/v1/models/small").json()["object"] == "model"
    assert client.post("/warm").json()["status"] == "warm"


async def test_a_full_waiting_line_answers_429_and_the_others_finish(shared: Child) -> None:
    async with shared.async_client() as client:
        body = chat_body(QUESTION, max_tokens=40, logit_bias={"2": -100})
        answers = await asyncio.gather(*(client.post("/v1/chat/completions", json=body) for _ in range(20)))
    statuses = [answer.status_code for answer in answers]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= SPEC.queue
    assert refused[0].headers["Retry-After"]
    assert refused[0].json()["error"]["type"] == "rate_limit_error"


async def occupancy(client: httpx.AsyncClient) -> tuple[int, int]:
    health = (await client.get("/health")).json()
    return health["running"], health["waiting"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_its_slot(shared: Child, stream: bool) -> None:
    async with shared.async_client() as client:
        body = chat_body(max_tokens=900, logit_bias={"2": -100}, stream=stream)
        tasks = [asyncio.create_task(client.post("/v1/chat/completions", json=body)) for _ in range(6)]
        while (await occupancy(client)) != (SPEC.parallel, 2):
            await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(10):
            while (await occupancy(client)) != (0, 0):
                await asyncio.sleep(0.02)
