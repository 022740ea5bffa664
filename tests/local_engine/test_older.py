"""Older clients' endpoints against the real model."""

from __future__ import annotations

import httpx
import pytest

from tests.local_engine.conversation import events_of

pytestmark = pytest.mark.engine

COUNT = "1, 2, 3, 4, 5, 6, 7,"


def test_llama_cpp_completion(client: httpx.Client) -> None:
    body = {"prompt": COUNT, "n_predict": 6, "temperature": 0, "cache_prompt": True}
    whole = client.post("/completion", json=body).json()
    assert whole["content"].startswith(" 8")
    assert (whole["stop"], whole["stop_type"], whole["tokens_predicted"]) == (True, "limit", 6)
    events = events_of(client.post("/completion", json={**body, "stream": True}).text)
    assert "".join(event["content"] for event in events) == whole["content"]
    assert [event["stop"] for event in events] == [False] * (len(events) - 1) + [True]


def test_tgi_generate(client: httpx.Client) -> None:
    parameters = {"max_new_tokens": 6, "do_sample": False, "stop": ["10"], "repetition_penalty": 1.0}
    whole = client.post("/generate", json={"inputs": COUNT, "parameters": parameters}).json()
    assert whole["generated_text"].startswith(" 8")
    events = events_of(client.post("/generate_stream", json={"inputs": COUNT, "parameters": parameters}).text)
    assert events[-1]["generated_text"] == whole["generated_text"]
    assert "".join(event["token"]["text"] for event in events) == whole["generated_text"]
    full = client.post("/generate", json={"inputs": COUNT, "parameters": {**parameters, "return_full_text": True}})
    assert full.json()["generated_text"] == COUNT + whole["generated_text"]


def test_tokens_there_and_back(client: httpx.Client) -> None:
    text = "Hello <|im_end|> wörld"
    plain = client.post("/tokenize", json={"content": text}).json()["tokens"]
    special = client.post("/tokenize", json={"content": text, "parse_special": True}).json()["tokens"]
    assert 2 in special
    assert 2 not in plain
    assert client.post("/detokenize", json={"tokens": plain}).json()["content"] == text
    assert client.post("/detokenize", json={"tokens": []}).json()["content"] == ""


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/completion", {"prompt": ["a", "b"]}, "prompt"),
        ("/completion", {"prompt": "a", "n_probs": 3}, "n_probs"),
        ("/completion", {"prompt": "a", "mirostat": 2}, "mirostat"),
        ("/completion", {"prompt": "a", "n_predict": 1, "max_tokens": 1}, None),
        ("/generate", {"inputs": "a", "parameters": {"watermark": True}}, "watermark"),
        ("/generate", {"inputs": "a", "parameters": {"details": True}}, "details"),
        ("/generate", {"inputs": ["a", "b"]}, "inputs"),
        ("/generate", {"inputs": "a", "parameters": {"n": 2}}, "n"),
        ("/tokenize", {}, "content"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": ["a"]}, "tokens"),
    ],
)
def test_what_they_refuse(client: httpx.Client, path: str, body: dict[str, object], param: str | None) -> None:
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
