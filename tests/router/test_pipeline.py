"""A request from its bytes to the client's answer, through a real channel, gate and socket."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from policies import Caller, Endpoint, Reach
from router import forward
from router.audit import Kind
from router.heartbeat import HEARTBEAT
from router.pipeline import Arrival, Pipeline
from router.reply import Headers
from router.settings.snapshot import KeyRule, Snapshot
from tests.router.house import House, Script, answering, house, plain, read_request, scripted, streamed

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
KEY = "rf_0a1b2c3d_" + "x" * 43
DONE = b"data: [DONE]\n\n"


@dataclass
class Recorded:
    """A Reply that keeps what it was given."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    writes: list[bytes] = field(default_factory=list)
    started: bool = False
    finished: bool = False

    async def start(self, status: int, headers: Headers) -> None:
        self.started, self.status, self.headers = True, status, dict(headers)

    async def write(self, data: bytes) -> None:
        self.writes.append(data)

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        await self.start(status, headers)
        await self.write(body)
        await self.finish()

    def pour(self, data: bytes | memoryview) -> bool:
        self.writes.append(bytes(data))
        return True

    async def finish(self) -> None:
        self.finished = True

    @property
    def body(self) -> bytes:
        return b"".join(self.writes)

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.body)["error"]  # type: ignore[no-any-return]


def arrival(document: object = CHAT, **changes: Any) -> Arrival:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    fields: dict[str, Any] = {
        "endpoint": Endpoint.CHAT, "request_id": "r-1", "authorization": "", "reach": "", "body": raw
    }  # fmt: skip
    return Arrival(**{**fields, **changes})


@asynccontextmanager
async def running(script: Script, directory: Path) -> AsyncIterator[tuple[House, Pipeline]]:
    async with scripted(script) as port, house(port, directory) as parts:
        yield parts, Pipeline(parts.snapshot.for_workers(), parts.client)


async def served(pipeline: Pipeline, request: Arrival) -> Recorded:
    reply = Recorded()
    await pipeline.serve(request, reply)
    assert reply.finished
    return reply


async def test_an_answer_says_who_gave_it_and_where_it_is_recorded(tmp_path: Path) -> None:
    extra = "X-Ringfence-Clamped: max_tokens=7\r\n"
    async with running(answering(plain(b'{"a":1}', extra=extra)), tmp_path) as (parts, pipeline):
        reply = await served(pipeline, arrival())
        index = next(i for i, (kind, _) in enumerate(parts.ledger.records) if kind is Kind.DECISION)
    assert (reply.status, reply.body) == (200, b'{"a":1}')
    assert reply.headers[b"x-ringfence-upstream"] == b"u"
    assert reply.headers[b"x-ringfence-tier"] == b"t"
    assert reply.headers[b"x-ringfence-attempts"] == b"1"
    assert reply.headers[b"x-ringfence-record"] == str(index).encode()
    assert reply.headers[b"x-ringfence-clamped"] == b"max_tokens=7"
    assert reply.headers[b"x-request-id"] == b"r-1"
    assert reply.headers[b"server-timing"].startswith(b"upstream;dur=")


async def test_a_stream_is_relayed_event_by_event(tmp_path: Path) -> None:
    async with running(answering(streamed(b"data: 1\n\n", b"data: 2\n\n", DONE)), tmp_path) as (_, pipeline):
        reply = await served(pipeline, arrival({**CHAT, "stream": True}))
    assert reply.body == b"data: 1\n\ndata: 2\n\n" + DONE
    assert reply.headers[b"content-type"] == b"text/event-stream"


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "422 Unprocessable"])
async def test_the_clients_own_mistake_comes_back_unchanged(status: str, tmp_path: Path) -> None:
    async with running(answering(plain(b'{"error":{}}', status)), tmp_path) as (_, pipeline):
        reply = await served(pipeline, arrival({**CHAT, "stream": True}))
    assert (reply.status, reply.body) == (int(status[:3]), b'{"error":{}}')


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (plain(b"{}", "500 Oops"), 502, "upstream_failed"),
        (plain(b"{}", "401 No"), 502, "upstream_failed"),
        (plain(b"{}", "429 Slow", extra="Retry-After: 9\r\n"), 429, "upstreams_busy"),
        (plain(b"{}", "503 Loading"), 503, "upstreams_unavailable"),
        (streamed(b"data: 1\n\n", DONE), 502, "upstream_failed"),  # a stream that nobody asked for
    ],
)
async def test_an_upstreams_failure_is_told_in_our_words(answer: bytes, status: int, code: str, tmp_path: Path) -> None:
    async with running(answering(answer), tmp_path) as (_, pipeline):
        reply = await served(pipeline, arrival())
    assert (reply.status, reply.error["code"]) == (status, code)
    if code == "upstreams_busy":
        assert reply.headers[b"retry-after"] == b"9"
    assert b"x-ringfence-record" in reply.headers


async def test_a_cut_stream_ends_in_an_error_event_and_never_in_done(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(streamed(b"data: 1\n\n", end=False))
        await asyncio.sleep(0.05)

    async with running(script, tmp_path) as (_, pipeline):
        reply = await served(pipeline, arrival({**CHAT, "stream": True}))
    event, error = reply.body.split(b"\n\n")[:2]
    assert event == b"data: 1"
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "upstream_failed"
    assert b"[DONE]" not in reply.body


async def test_a_long_wait_is_kept_alive_by_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "HEARTBEAT_S", 0.05)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(0.2)
        writer.write(streamed(b"data: 1\n\n", DONE))

    async with running(script, tmp_path) as (_, pipeline):
        reply = await served(pipeline, arrival({**CHAT, "stream": True}))
    assert reply.writes[0] == HEARTBEAT
    assert reply.body.replace(HEARTBEAT, b"") == b"data: 1\n\n" + DONE


async def test_an_error_after_comments_is_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "HEARTBEAT_S", 0.05)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(0.2)
        writer.write(plain(b'{"error":{"message":"no"}}', "400 Bad"))

    async with running(script, tmp_path) as (_, pipeline):
        reply = await served(pipeline, arrival({**CHAT, "stream": True}))
    assert reply.body.endswith(b'data: {"error":{"message":"no"}}\n\n')


async def test_an_endless_answer_is_refused(tmp_path: Path) -> None:
    async with scripted(answering(plain(b"x" * 5000))) as port, house(port, tmp_path) as parts:
        small = replace(parts.snapshot, limits=replace(parts.snapshot.limits, answer_bytes=1000))
        reply = await served(Pipeline(small, parts.client), arrival())
    assert (reply.status, reply.error["code"]) == (502, "upstream_failed")


async def test_a_client_that_leaves_cancels_the_exchange(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(5)

    async with running(script, tmp_path) as (parts, pipeline):
        serving = asyncio.create_task(pipeline.serve(arrival(), Recorded()))
        await asyncio.sleep(0.1)
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        assert (await parts.outcomes())[0]["ending"] == "client_left"


@pytest.mark.parametrize(
    ("request_", "status", "code", "param"),
    [
        (arrival(b"{"), 400, "invalid_json", None),
        (arrival({**CHAT, "model": "gpt-4o"}), 404, "model_not_found", "model"),
        (arrival(CHAT, reach="moon"), 400, "invalid_request", "X-Ringfence-Reach"),
        (arrival({**CHAT, "stream": 1}), 400, "invalid_request", "stream"),
    ],
)
async def test_a_refusal_leaves_a_denial_without_content(
    request_: Arrival, status: int, code: str, param: str | None, tmp_path: Path
) -> None:
    async with running(answering(plain(b"{}")), tmp_path) as (parts, pipeline):
        reply = await served(pipeline, request_)
        (denial,) = parts.ledger.bodies(Kind.DENIAL)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (status, code, param)
    reason = {"model_not_found": "model_unknown"}.get(code, code)  # told apart in the ledger alone
    assert (denial["reason"], denial["caller"], denial["param"]) == (reason, "anonymous", param or "")
    assert denial["model"] == ""
    assert reply.headers[b"x-ringfence-record"] == b"0"


@pytest.mark.parametrize(
    ("more", "param", "reason", "advice"),
    [
        ({"api_base": "http://evil.example"}, "api_base", "reaiming_parameter", "leave it out"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "hosted_tool", "type 'function'"),
        ({"metadata": {"base_url": "x"}}, "metadata.base_url", "reaiming_parameter", "the operator's to say"),
        ({"image_url": "http://evil.example"}, "image_url", "remote_content", "as a data: URL"),
        ({"MODEL": "m"}, "MODEL", "ambiguous_name", "write each name once"),
    ],
)
async def test_what_would_reaim_the_request_is_refused_by_name(
    more: dict[str, object], param: str, reason: str, advice: str, tmp_path: Path
) -> None:
    async with running(answering(plain(b"{}")), tmp_path) as (parts, pipeline):
        reply = await served(pipeline, arrival({**CHAT, **more}))
        (denial,) = parts.ledger.bodies(Kind.DENIAL)
    assert (reply.status, reply.error["code"]) == (403, "policy_denied")
    assert (reply.error["param"], denial["reason"]) == (param, reason)
    assert denial["model"] == "m"
    assert f"what '{param}' asks for: {reason}: " in reply.error["message"]
    assert advice in reply.error["message"]


async def test_a_body_that_grows_too_large_by_our_spelling_is_recorded(tmp_path: Path) -> None:
    raw = b'{"messages":[{"role":"user","content":"hi"}]}'  # the default model's name is written into it
    async with running(answering(plain(b"{}")), tmp_path) as (parts, _):
        limits = replace(parts.snapshot.limits, body_bytes=len(raw))
        reply = await served(Pipeline(replace(parts.snapshot, limits=limits), parts.client), arrival(raw))
        (denial,) = parts.ledger.bodies(Kind.DENIAL)
    assert (reply.status, denial["reason"], denial["model"]) == (413, "body_too_large", "m")


async def test_without_a_ledger_a_refusal_says_so(tmp_path: Path) -> None:
    async with running(answering(plain(b"{}")), tmp_path) as (parts, pipeline):
        parts.ledger.failure = "full"
        reply = await served(pipeline, arrival(b"{"))
    assert (reply.status, reply.error["code"]) == (503, "audit_unavailable")
    assert b"retry-after" in reply.headers


async def test_names_that_a_client_made_up_stay_out_of_the_ledger(tmp_path: Path) -> None:
    async with running(answering(plain(b"{}")), tmp_path) as (parts, pipeline):
        reply = await served(pipeline, arrival(b'{"my secret":1,"my secret":2}'))
        (denial,) = parts.ledger.bodies(Kind.DENIAL)
    assert reply.error["param"] == "my secret"
    assert denial["param"] == ""


async def test_a_narrower_reach_than_any_upstream_is_denied(tmp_path: Path) -> None:
    async with running(answering(plain(b"{}")), tmp_path) as (parts, _):
        snapshot = parts.snapshot
        tiers = {"t": snapshot.policy.tiers["t"]}
        models = {"m": replace(snapshot.policy.models["m"], tiers=("t",))}
        narrow = replace(snapshot, policy=replace(snapshot.policy, tiers=tiers, models=models))
        reply = await served(Pipeline(narrow, parts.client), arrival(reach="process"))
        limited = replace(narrow, policy=replace(narrow.policy, callers={"alice": Caller("alice", Reach.PROCESS)}))
        rule = KeyRule("0a1b2c3d", hashlib.sha256(KEY.encode()).hexdigest(), "alice")
        limited = replace(limited, keys=(rule,), policy=replace(limited.policy, any_caller=False))
        by_key = await served(Pipeline(limited, parts.client), arrival(authorization=f"Bearer {KEY}", reach="network"))
    for answer, param, words in (
        (reply, "X-Ringfence-Reach", "'process' that X-Ringfence-Reach allows: widen it"),
        (by_key, "model", "'process' that your key allows: ask for another model, or ask the operator"),
    ):
        assert (answer.status, answer.error["code"]) == (403, "policy_denied")
        assert (answer.error["param"], words in answer.error["message"]) == (param, True)


def with_key(snapshot: Snapshot) -> Snapshot:
    rule = KeyRule("0a1b2c3d", hashlib.sha256(KEY.encode()).hexdigest(), "alice")
    policy = replace(snapshot.policy, callers={"alice": Caller("alice", Reach.RENTED)}, any_caller=False)
    return replace(snapshot, policy=policy, keys=(rule,))


@pytest.mark.parametrize(
    ("authorization", "status"),
    [("", 401), ("Bearer", 401), ("Basic abc", 401), ("Bearer rf_0a1b2c3d_wrong", 401), ("Bearer sk-x", 401)],
)
async def test_without_a_good_key_there_is_no_answer_and_no_caller(
    authorization: str, status: int, tmp_path: Path
) -> None:
    async with running(answering(plain(b"{}")), tmp_path) as (parts, _):
        reply = await served(Pipeline(with_key(parts.snapshot), parts.client), arrival(authorization=authorization))
        assert not parts.ledger.records
    assert (reply.status, reply.error["code"]) == (status, "invalid_api_key")
    assert reply.headers[b"www-authenticate"] == b"Bearer"


async def test_a_good_key_is_its_caller(tmp_path: Path) -> None:
    async with scripted(answering(plain(b"{}"))) as port, house(port, tmp_path, change=with_key) as parts:
        reply = await served(Pipeline(parts.snapshot, parts.client), arrival(authorization=f"Bearer {KEY}"))
        (decision,) = parts.ledger.bodies(Kind.DECISION)
    assert reply.status == 200
    assert decision["caller"] == "alice"


async def test_without_a_gate_there_is_an_answer_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.pipeline.CHANNEL_WAIT_S", 0.05)
    async with running(answering(plain(b"{}")), tmp_path) as (parts, pipeline):
        parts.client.close()
        await asyncio.sleep(0.05)
        for request in (arrival(), arrival(b"{")):
            reply = await served(pipeline, request)
            assert (reply.status, reply.error["code"]) == (503, "gate_unavailable")
            assert reply.headers[b"retry-after"] == b"1"
