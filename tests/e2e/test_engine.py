"""The whole product with its own model: no configuration, a real engine, and a crash in native code."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conversations import CHAT, all_ready, data_of, error_of, raw_client, text_of
from tests.service import Service, resident_bytes, running, until

pytestmark = pytest.mark.engine
MODEL = "smollm2-135m-instruct"
BUILT = any(Path(sys.prefix).glob("engine/*/*llama*"))
READY_S = 60.0  # the first start looks at the CPU first
# Three seconds on a quiet machine; on one that is busy with other work, the order of events is all that can be shown.
SERVED_AGAIN_S = 3.0 if os.getloadavg()[0] < 0.5 else 40.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    if not BUILT:
        pytest.skip("THE ENGINE IS NOT COMPILED: run `make` first, then these tests prove something")
    with running(tmp_path_factory.mktemp("embedded"), RINGFENCE_WORKERS="1") as one:
        until(lambda: one.get("/health").status_code == 200, READY_S, "the embedded model is ready")
        yield one


def say(text: str, **more: object) -> dict[str, object]:
    messages = [{"role": "user", "content": text}]
    return {"model": MODEL, "messages": messages, "max_tokens": 24, "temperature": 0, **more}


def test_with_no_configuration_it_answers(service: Service) -> None:
    answer = service.post(CHAT, say("What is gravity?"))
    assert answer.status_code == 200
    document = answer.json()
    assert "ravity" in document["choices"][0]["message"]["content"]
    assert document["usage"]["completion_tokens"] > 0
    assert answer.headers["x-ringfence-upstream"] == "embedded"
    assert service.records("decision")[-1]["body"]["reach"] == "process"


def test_every_process_logs_in_one_form(service: Service) -> None:
    lines = [line for line in service.log().splitlines() if "listens on" not in line]
    rows = [json.loads(line) for line in lines]
    assert all({"time", "process", "event"} <= row.keys() for row in rows)
    assert {"gate", "worker-0", "engine-small"} <= {row["process"] for row in rows}


def test_a_stream_says_the_same_as_a_whole_answer(service: Service) -> None:
    whole = service.post(CHAT, say("Count from one to five.")).json()["choices"][0]["message"]["content"]
    data = data_of(service.post(CHAT, say("Count from one to five.", stream=True)).content)
    assert (text_of(data), data[-1]) == (whole, "[DONE]")


def test_usage_comes_last_when_asked_for(service: Service) -> None:
    asked = say("Hi", stream=True, stream_options={"include_usage": True})
    *_, last, done = data_of(service.post(CHAT, asked).content)
    assert json.loads(last)["usage"]["total_tokens"] > 0
    assert done == "[DONE]"


def test_completions(service: Service) -> None:
    asked = {"model": MODEL, "prompt": "One, two, three,", "max_tokens": 8, "temperature": 0}
    assert "four" in service.post("/v1/completions", asked).json()["choices"][0]["text"]


def test_embeddings_are_of_length_one(service: Service) -> None:
    rows = service.post("/v1/embeddings", {"model": MODEL, "input": ["a cat", "a dog"]}).json()["data"]
    for row in rows:
        assert sum(value * value for value in row["embedding"]) == pytest.approx(1.0, abs=1e-3)


def test_models(service: Service) -> None:
    assert [row["id"] for row in service.get("/v1/models").json()["data"]] == [MODEL]


@pytest.mark.parametrize(
    ("more", "param"),
    [({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"), ({"nonsense": 1}, "nonsense")],
)
def test_what_it_cannot_do_it_refuses_by_name(service: Service, more: dict[str, object], param: str) -> None:
    answer = service.post(CHAT, say("Hi", **more))
    assert (answer.status_code, error_of(answer.content)["param"]) == (400, param)


def test_max_tokens_beyond_the_context_is_clamped_and_said(service: Service) -> None:
    answer = service.post(CHAT, say("Say yes.", max_tokens=16_384, stop=["."]))
    assert answer.status_code == 200
    assert answer.headers["x-ringfence-clamped"].startswith("max_tokens=")


def test_an_over_long_prompt_is_refused_by_its_code(service: Service) -> None:
    answer = service.post(CHAT, say("word " * 20_000))
    assert (answer.status_code, error_of(answer.content)["code"]) == (400, "context_length_exceeded")


def test_json_mode_gives_json(service: Service) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"],
              "additionalProperties": False}  # fmt: skip
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    answer = service.post(CHAT, say("The capital of France as JSON.", response_format=wanted, max_tokens=60))
    assert json.loads(answer.json()["choices"][0]["message"]["content"]).keys() == {"city"}


def test_a_crash_in_native_code_ends_one_stream_and_no_more(service: Service) -> None:
    pid = service.pids()["engine-small"]
    with raw_client(service) as client:
        client.ask(say("Tell me a very long story.", stream=True, max_tokens=2000))
        client.head()
        chunks = client.chunks()
        first = next(chunks)
        service.kill("engine-small", signal.SIGSEGV)
        data = data_of(first + b"".join(chunks))
    assert error_of(data[-1])["code"] == "upstream_failed"
    assert "[DONE]" not in data
    assert service.settled()[-1]["body"]["ending"] == "upstream_broke"
    took = until(lambda: service.post(CHAT, say("Hi", max_tokens=2)).status_code == 200, SERVED_AGAIN_S, "served again")
    assert took < SERVED_AGAIN_S  # the request itself waits in the engine's backlog
    assert service.pids()["engine-small"] != pid
    row = service.rows()["engine-small"]
    assert (row["restarts"], "SIGSEGV" in row["reason"]) == (1, True)


def test_a_leaving_client_frees_the_engine(service: Service) -> None:
    """All places taken by leavers: the next answer comes at once, not after 2,000 tokens each."""
    for _ in range(8):
        with raw_client(service) as client:
            client.ask(say("Tell me a very long story.", stream=True, max_tokens=2000, temperature=1))
            client.head()
            next(client.chunks())
            client.leave()
    assert service.post(CHAT, say("Hi", max_tokens=2)).status_code == 200
    endings = [row["body"]["ending"] for row in service.settled()][-9:]
    assert endings.count("client_left") == 8


def test_the_whole_tree_is_small(service: Service) -> None:
    pids = [service.process.pid, *service.pids().values()]
    resident = sum(resident_bytes(pid) for pid in pids)
    assert resident < 600_000_000, resident


def test_the_ledger_of_all_that_is_whole(service: Service) -> None:
    service.settled()
    assert service.verify().returncode == 0
    assert "Traceback" not in service.log()


def test_an_engines_process_runs_and_its_upstream_says_whether_it_serves(service: Service) -> None:
    health = service.health()
    assert {row["state"] for row in health["processes"] if row["name"].startswith("engine")} == {"running"}
    assert all_ready(service)


BROKEN = """version: 1
upstreams: {local: {engine: broken}}
engines: {broken: {model: {path: broken.gguf}}}
tiers: [{name: t, upstreams: [local]}]
"""


def test_an_engine_that_cannot_load_is_failing_and_never_called_ready(tmp_path: Path) -> None:
    if not BUILT:
        pytest.skip("THE ENGINE IS NOT COMPILED: run `make` first, then these tests prove something")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    with running(tmp_path, BROKEN, RINGFENCE_WORKERS="1") as one:
        until(lambda: one.health()["status"] == "failing", READY_S, "the broken model is found out")
        health = one.health()
        assert health["tiers"]["t"][0]["state"] == "failing"
        assert "ready" not in {row["state"] for row in health["processes"] if row["name"].startswith("engine")}


IDLE = """version: 1
upstreams: {local: {engine: small}}
engines: {small: {context: 1024, parallel: 2, threads: 1, idle_unload: 1s}}
tiers: [{name: t, upstreams: [local], timeouts: {first_token: 60s, total: 90s}}]
models: {m: {tiers: [t]}}
"""


def test_an_idle_engine_loads_again_in_its_cage(tmp_path: Path) -> None:
    if not BUILT:
        pytest.skip("THE ENGINE IS NOT COMPILED: run `make` first, then these tests prove something")
    with running(tmp_path, IDLE, RINGFENCE_WORKERS="1") as one:
        until(lambda: one.get("/health").status_code == 200, READY_S, "the model is ready")
        first = one.post(CHAT, {**say("What is gravity?"), "model": "m"})
        until(lambda: "unloaded after 1 s" in one.log(), READY_S, "the model is unloaded")
        assert one.get("/health").status_code == 200
        again = one.post(CHAT, {**say("What is gravity?"), "model": "m"})
        assert again.json()["choices"] == first.json()["choices"]
