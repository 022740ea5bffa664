"""Older clients through the router: their requests in OpenAI's words, OpenAI's answers in theirs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from router.api.older import COMPLETION, GENERATE, GENERATE_STREAM, Translation
from router.reply import Headers
from router.settings.snapshot import Limits
from tests.router.fronts import front, talk
from tests.router.house import answering, plain
from tests.router.requests import post

JSON = [(b"content-type", b"application/json")]
EVENTS = [(b"content-type", b"text/event-stream")]
DOCUMENT = {
    "object": "text_completion",
    "model": "m",
    "choices": [{"index": 0, "text": "four", "finish_reason": "length"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 1},
}


def chunk(text: str, reason: str | None = None) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "text": text, "finish_reason": reason}]}).encode() + b"\n\n"


STREAM = [
    chunk("a") + chunk("b"),
    b": waiting\n\n",
    chunk("", "stop"),
    b'data: {"choices":[]}\n\n',
    b"data: [DONE]\n\n",
]


@dataclass
class Kept:
    """A reply that keeps what it was given."""

    heads: list[tuple[int, Headers]] = field(default_factory=list)
    written: list[bytes] = field(default_factory=list)
    finished: bool = False

    @property
    def started(self) -> bool:
        return bool(self.heads)

    async def start(self, status: int, headers: Headers) -> None:
        self.heads.append((status, headers))

    async def write(self, data: bytes) -> None:
        self.written.append(data)

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        await self.start(status, headers)
        await self.write(body)
        await self.finish()

    def pour(self, data: bytes | memoryview) -> bool:
        raise AssertionError("an answer in other words never takes this way")

    async def finish(self) -> None:
        self.finished = True


def translated(path: str, **document: Any) -> dict[str, Any]:
    found = Translation(path, json.dumps(document).encode(), Limits())
    assert found.error is None, found.error
    body: dict[str, Any] = json.loads(found.body)
    return body


def refused(path: str, document: object) -> tuple[int, str | None, str]:
    error = Translation(path, json.dumps(document).encode(), Limits()).error
    assert error is not None
    return error.status, error.param, str(error)


async def told(path: str, document: dict[str, Any], headers: Headers, *writes: bytes, status: int = 200) -> Kept:
    kept = Kept()
    reply = Translation(path, json.dumps(document).encode(), Limits()).reply(kept)
    if (b"content-type", b"text/event-stream") in headers:
        await reply.start(status, headers)
        for data in writes:
            await reply.write(data)
        await reply.finish()
    else:
        await reply.whole(status, headers, b"".join(writes))
    assert kept.finished
    assert reply.started
    return kept


def events(kept: Kept) -> list[dict[str, Any]]:
    lines = b"".join(kept.written).decode().split("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_llamas_words_become_openais() -> None:
    asked = translated(COMPLETION, prompt="p", n_predict=5, cache_prompt=True, id_slot=0, n_probs=0, top_k=3)
    assert asked == {"prompt": "p", "max_tokens": 5, "top_k": 3}
    assert translated(COMPLETION, prompt=[1, 2], n_predict=-1) == {"prompt": [1, 2]}


def test_tgis_words_become_openais() -> None:
    parameters = {"max_new_tokens": 5, "stop_sequences": ["x"], "repetition_penalty": 1.1, "details": False}
    asked = translated(GENERATE, inputs="p", model="m", parameters=parameters)
    assert asked == {
        "model": "m", "max_tokens": 5, "stop": ["x"], "repeat_penalty": 1.1, "prompt": "p", "stream": False
    }  # fmt: skip
    greedy = translated(GENERATE_STREAM, inputs="p", parameters={"do_sample": False, "temperature": 0.7})
    assert (greedy["temperature"], greedy["stream"]) == (0, True)
    assert translated(GENERATE, inputs="p", stream=True)["stream"] is True
    assert "temperature" not in translated(GENERATE, inputs="p", parameters={"do_sample": True})
    assert translated(GENERATE, inputs="p", parameters=None) == {"prompt": "p", "stream": False}


@pytest.mark.parametrize(
    ("path", "document", "param"),
    [
        (COMPLETION, {"prompt": "p", "n_probs": 3}, "n_probs"),
        (COMPLETION, {"prompt": "p", "n_predict": 3, "max_tokens": 4}, "n_predict"),
        (COMPLETION, [], None),
        (GENERATE, {"inputs": ["a"]}, "inputs"),
        (GENERATE, {}, "inputs"),
        (GENERATE, {"inputs": "p", "parameters": []}, "parameters"),
        (GENERATE, {"inputs": "p", "parameters": ""}, "parameters"),
        (GENERATE, {"inputs": "p", "prompt": "q"}, "prompt"),
        (GENERATE, {"inputs": "p", "parameters": {"do_sample": "false"}}, "do_sample"),
        (GENERATE, {"inputs": "p", "parameters": {"return_full_text": 1}}, "return_full_text"),
        (GENERATE, {"inputs": "p", "parameters": {"details": True}}, "details"),
        (GENERATE, {"inputs": "p", "parameters": {"watermark": True}}, "watermark"),
        (GENERATE, {"inputs": "p", "parameters": {"truncate": 5}}, "truncate"),
        (GENERATE, {"inputs": "p", "parameters": {"prompt": "q"}}, "prompt"),
        (GENERATE, {"inputs": "p", "model": "a", "parameters": {"model": "b"}}, "model"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(path: str, document: object, param: str | None) -> None:
    assert refused(path, document)[:2] == (400, param)


async def test_a_whole_answer_is_told_in_each_shape() -> None:
    body = json.dumps(DOCUMENT).encode()
    headers = [*JSON, (b"x-ringfence-tier", b"t")]
    llama = await told(COMPLETION, {"prompt": "p"}, headers, body[:9], body[9:])
    assert json.loads(b"".join(llama.written)) == {
        "index": 0, "content": "four", "stop": True, "model": "m", "stop_type": "limit", "tokens_predicted": 1,
        "tokens_evaluated": 7,
    }  # fmt: skip
    ((status, sent),) = llama.heads
    assert (status, sent) == (200, headers)
    tgi = await told(GENERATE, {"inputs": "2+2=", "parameters": {"return_full_text": True}}, JSON, body)
    assert json.loads(tgi.written[0]) == {"generated_text": "2+2=four"}


async def test_a_stream_is_told_in_each_shape_without_an_end_mark() -> None:
    llama = await told(COMPLETION, {"prompt": "p", "stream": True}, EVENTS, *STREAM)
    assert [(event["content"], event["stop"]) for event in events(llama)] == [("a", False), ("b", False), ("", True)]
    assert b": waiting\n\n" in llama.written
    tgi = events(await told(GENERATE_STREAM, {"inputs": "p"}, EVENTS, *STREAM))
    assert [event["token"]["text"] for event in tgi] == ["a", "b", ""]
    assert [event["generated_text"] for event in tgi] == [None, None, "ab"]
    assert tgi[-1]["details"] == {"finish_reason": "eos_token", "generated_tokens": 3}
    assert b"[DONE]" not in b"".join(llama.written)


@pytest.mark.parametrize("line", [b'data: {"error":{"message":"x"}}\n\n', b"data: not json\n\n", b"event: x\n\n"])
async def test_errors_and_what_is_not_ours_pass_unchanged(line: bytes) -> None:
    assert (await told(GENERATE_STREAM, {"inputs": "p"}, EVENTS, line)).written == [line]


async def test_an_error_instead_of_an_answer_passes_unchanged() -> None:
    body = b'{"error":{"message":"no"}}'
    kept = await told(COMPLETION, {"prompt": "p"}, JSON, body, status=503)
    assert (kept.heads[0][0], kept.written) == (503, [body])
    strange = await told(COMPLETION, {"prompt": "p"}, JSON, b'{"choices":[]}')
    assert strange.written == [b'{"choices":[]}']


async def test_older_clients_are_served_by_any_upstream(tmp_path: Path) -> None:
    async with front(answering(plain(json.dumps(DOCUMENT).encode())), tmp_path) as (parts, port):
        llama = await talk(port, post(b'{"model":"m","prompt":"p","n_predict":4}', path="/completion"))
        tgi = await talk(port, post(b'{"model":"m","inputs":"p"}', path="/generate"))
        wrong = await talk(port, post(b'{"model":"m"}', path="/generate?x=1"))
        await talk(port, post(b"{", path="/completion"))
    assert b'"content":"four"' in llama
    assert b"x-ringfence-record" in llama
    assert tgi.endswith(b'{"generated_text":"four"}')
    assert b"400 Bad Request" in wrong
    decisions = [body for kind, body in parts.ledger.records if kind == "decision"]
    assert [body["endpoint"] for body in decisions] == ["completions", "completions"]
    assert len([body for kind, body in parts.ledger.records if kind == "denial"]) == 2
