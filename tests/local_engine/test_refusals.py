"""Everything the engine cannot do is refused by name, in OpenAI's shape."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.local_engine.conversation import chat_body

pytestmark = pytest.mark.engine

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
REMOTE = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "https://example.org/s.json"}}}


def message(**fields: Any) -> dict[str, Any]:
    return {"messages": [fields]}


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"store": True}, "store"),
        ({"typo": 1}, "typo"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"min_p": -(10**400)}, "min_p"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_k": 10**9}, "top_k"),
        ({"n": 0}, "n"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 4, "max_completion_tokens": 5}, "max_tokens"),
        ({"seed": 1.5}, "seed"),
        ({"stop": 5}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ({"stream": True, "stream_options": 3}, "stream_options"),
        ({"logit_bias": {"999999": 1}}, "logit_bias.999999"),
        ({"logit_bias": {"a": 1}}, "logit_bias.a"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"logit_bias": []}, "logit_bias"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": REMOTE}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "text", "more": 1}}, "response_format.more"),
        ({"model": 5}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        (message(role="user", content=[{"type": "text", "text": "what?"}, IMAGE]), "messages[0].content[1].type"),
        (message(role="user", content=[{"type": "text"}]), "messages[0].content[0].text"),
        (message(role="user", content=["x"]), "messages[0].content[0]"),
        (message(role="user", content=None), "messages[0].content"),
        (message(role="user"), "messages[0].content"),
        (message(role="tool", content="x", tool_call_id="1"), "messages[0].role"),
        (message(role="king", content="x"), "messages[0].role"),
        (message(role="user", content="x", name="bob"), "messages[0].name"),
        (message(role="assistant", content="x", tool_calls=[{"id": "1"}]), "messages[0].tool_calls"),
        ({"messages": [7]}, "messages[0]"),
    ],
)
def test_chat_fields(client: httpx.Client, fields: dict[str, Any], param: str) -> None:
    error = error_of(client.post("/v1/chat/completions", json=chat_body(**fields)), 400)
    assert (error["param"], error["type"]) == (param, "invalid_request_error")


def test_values_that_ask_for_nothing_pass(client: httpx.Client) -> None:
    harmless: dict[str, Any] = {
        "tools": [],
        "tool_choice": "none",
        "n": None,
        "store": False,
        "user": "u",
        "metadata": {"a": "b"},
    }
    more: dict[str, Any] = {
        "modalities": ["text"],
        "stop": None,
        "response_format": {"type": "text"},
        "logit_bias": None,
        "top_k": -1,
    }
    parts = [{"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]}]
    body = {**chat_body(max_tokens=1), **harmless, **more}
    body["messages"] = parts + body["messages"]
    assert client.post("/v1/chat/completions", json=body).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/completions", {"prompt": 5}, "prompt"),
        ("/v1/completions", {"prompt": []}, "prompt"),
        ("/v1/completions", {"prompt": ["a", 5]}, "prompt[1]"),
        ("/v1/completions", {"prompt": [10**9]}, "prompt"),
        ("/v1/completions", {"prompt": ["a"] * 300}, "prompt"),
        ("/v1/completions", {"prompt": ""}, "prompt"),
        ("/v1/completions", {"prompt": "a", "echo": True}, "echo"),
        ("/v1/completions", {"prompt": "a", "best_of": 2}, "best_of"),
        ("/v1/completions", {"prompt": "a", "suffix": "b"}, "suffix"),
        ("/v1/completions", {"prompt": "a", "logprobs": True}, "logprobs"),
        ("/v1/embeddings", {"input": ""}, "input[0]"),
        ("/v1/embeddings", {}, "input"),
        ("/v1/embeddings", {"input": "a", "dimensions": 64}, "dimensions"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ("/v1/embeddings", {"input": "a", "pooling": "cls"}, "pooling"),
    ],
)
def test_other_endpoints(client: httpx.Client, path: str, body: dict[str, Any], param: str) -> None:
    assert error_of(client.post(path, json=body), 400)["param"] == param


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"\xff\xfe{}",
        b'{"messages": [], "messages": []}',
        b'{"n": NaN}',
        b'{"seed": ' + b"1" * 5000 + b"}",
        b"[" * 100_000,
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    ],
)
def test_bodies_that_are_not_json(client: httpx.Client, raw: bytes) -> None:
    error = error_of(client.post("/v1/chat/completions", content=raw), 400)
    assert error["code"] == "invalid_json"
    assert "Traceback" not in error["message"]


def test_a_body_over_the_limit(client: httpx.Client) -> None:
    assert error_of(client.post("/v1/chat/completions", content=b" " * (9 << 20)), 413)["code"] == "request_too_large"


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings"])
def test_more_tokens_than_the_context(client: httpx.Client, path: str) -> None:
    name = "prompt" if path == "/v1/completions" else "input"
    error = error_of(client.post(path, json={name: "word " * 3000}), 400)
    assert (error["code"], "1024" in error["message"]) == ("context_length_exceeded", True)


def test_a_model_that_is_not_here(client: httpx.Client) -> None:
    error = error_of(client.post("/v1/chat/completions", json=chat_body(model="gpt-9")), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert error_of(client.get("/v1/models/gpt-9"), 404)["code"] == "model_not_found"


def test_paths_and_methods(client: httpx.Client) -> None:
    assert error_of(client.get("/nowhere"), 404)["code"] == "not_found"
    wrong = client.get("/v1/chat/completions")
    assert error_of(wrong, 405)["code"] == "method_not_allowed"
    assert wrong.headers["Allow"] == "POST"


def test_a_scope_that_is_too_long(client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json=chat_body(), headers={"X-Ringfence-Scope": "x" * 201})
    assert error_of(answer, 400)["code"] == "invalid_header"


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
def test_ranking_is_refused_by_name(client: httpx.Client, path: str) -> None:
    error = error_of(client.post(path, json={"query": "a", "documents": ["b"]}), 501)
    assert (error["code"], "ranking head" in error["message"]) == ("unsupported_endpoint", True)
