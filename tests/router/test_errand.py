"""A request is asked for once, whatever comes back, and whether a callback or a coroutine sees to its answer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest
import uvicorn

from policies import Caller, ModelRule, Policy, Reach, TierRule, UpstreamRule
from router.api import protocol
from router.api.app import Application
from router.api.errand import Errand
from router.api.intake import Intake
from router.api.protocol import RouterProtocol
from router.channel.client import GateClient
from router.channel.frames import COUNT, Kind, Splitter, pack, pack_answer
from router.channel.messages import Cause, Failure, Head, Queued, encode
from router.channel.steering import Steering
from router.forward import Forwarder
from router.logs import Log
from router.pipeline import Arrival, Judged, Pipeline
from router.settings.snapshot import KeyRule, Snapshot, TierSettings
from router.view import View

GOOD = Head(200, "application/json")
BODY = b'{"a":1}'
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-ID: r-1\r\n"
    b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
)
CHAT = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
STREAM = CHAT[:-1] + b',"stream":true}'
EVENTS = Head(200, "text/event-stream")


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.data = b""
        self.closed = self.lost = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.lost:  # as uvloop's do
            raise RuntimeError("unable to perform operation; the handler is closed")
        self.data += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.lost = True

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return


class Door:
    """One client's connection to a worker, and the worker's channel to a gate that says what the test says."""

    def __init__(self, tier: TierSettings, log: Log) -> None:
        self.client, self.channel, self.gate = Wire(), Wire(), GateClient()
        self.link = self.gate._link = self.gate.link()
        self.link.connection_made(self.channel)
        policy = Policy(
            digest="0" * 64,
            upstreams={name: UpstreamRule(name, Reach.HOST) for name in "uv"},
            tiers={"t": TierRule("t", ("u",)), "s": TierRule("s", ("v",))},
            models={"m": ModelRule("m", ("t", "s"))},
            default_model="m",
            callers={"anonymous": Caller("anonymous")},
            any_caller=True,
        )
        snapshot = Snapshot(policy, tiers={"t": tier, "s": msgspec.structs.replace(tier, name="s")})
        application = Application(snapshot, self.gate, View(), log, Steering(lambda _: None))
        config = uvicorn.Config(cast("Any", application), http=cast("Any", RouterProtocol), interface="asgi3")
        config.load()
        self.state = uvicorn.server.ServerState()
        self.worker = RouterProtocol(
            lambda: application, log, Intake(), config=config, server_state=self.state, app_state={}
        )
        self.worker.connection_made(self.client)

    def request(self, body: bytes = CHAT, key: str = "") -> bytes:
        return REQUEST % (key.encode(), len(body), body)

    def ask(self, body: bytes = CHAT, key: str = "") -> None:
        self.worker.data_received(self.request(body, key))

    def hear(self, data: bytes) -> None:
        """From the gate."""
        while data:
            room = self.link.get_buffer(len(data))
            piece, data = data[: len(room)], data[len(room) :]
            room[: len(piece)] = piece
            self.link.buffer_updated(len(piece))

    async def asked(self) -> list[tuple[int, Kind, bytes]]:
        await asyncio.sleep(0.02)
        return list(Splitter().feed(self.channel.data))

    async def opened(self) -> list[int]:
        return [number for number, kind, _ in await self.asked() if kind is Kind.OPEN]


def door(**changes: Any) -> Door:
    return Door(TierSettings("t", **changes), Log("test"))


def whole(number: int, head: Head = GOOD, body: bytes = BODY) -> bytes:
    return pack_answer(number, 7, encode(head), body)


def in_parts(number: int, head: Head = GOOD, *pieces: bytes) -> bytes:
    frames = [(Kind.RECORD, COUNT.pack(7)), (Kind.HEAD, encode(head)), *((Kind.DATA, piece) for piece in pieces)]
    return b"".join(pack(number, kind, payload) for kind, payload in [*frames, (Kind.END, b"")])


def without_times(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\r\n") if not line.startswith((b"server-timing", b"date"))]


async def test_an_answer_in_one_frame_and_one_in_parts_are_the_same_to_a_client() -> None:
    head = Head(200, "application/json; charset=utf-8", clamped="max_tokens=7\x01")
    first, second = door(), door()
    for one, answer in ((first, whole(1, head)), (second, in_parts(1, head, BODY[:3], BODY[3:]))):
        one.ask()
        assert await one.opened() == [1]
        one.hear(answer)
        assert not one.state.tasks
    assert without_times(first.client.data) == without_times(second.client.data)
    assert without_times(first.client.data) == [
        b"HTTP/1.1 200 OK",
        b"content-type: application/json; charset=utf-8",
        b"x-request-id: r-1",
        b"x-ringfence-tier: t",
        b"x-ringfence-upstream: u",
        b"x-ringfence-attempts: 1",
        b"x-ringfence-record: 7",
        b"x-ringfence-clamped: max_tokens=7",
        b"content-length: 7",
        b"",
        BODY,
    ]


@pytest.mark.parametrize("status", [201, 400])
async def test_a_rarer_answer_that_is_whole_is_passed_on(status: int) -> None:
    one = door()
    one.ask()
    one.hear(whole(1, Head(status, "application/json")))
    assert one.client.data.startswith(b"HTTP/1.1 %d " % status)
    assert one.client.data.endswith(BODY)
    assert await one.opened() == [1]


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(lambda number: whole(number, Head(500, "application/json")), id="its fault"),
        pytest.param(lambda number: whole(number, body=b'{"a":'), id="no JSON"),
        pytest.param(lambda number: whole(number, body=b""), id="nothing"),
        pytest.param(lambda number: whole(number, Head(200, "text/html")), id="a page"),
        pytest.param(lambda number: in_parts(number, GOOD, b"[" * 40_000, b"[" * 40_000), id="much, and no JSON"),
        pytest.param(lambda number: pack(number, Kind.FAIL, encode(Failure(Cause.REFUSED))), id="refused"),
    ],
)
async def test_the_next_upstream_is_asked_once_and_the_first_no_more(frames: Callable[[int], bytes]) -> None:
    one = door()
    one.ask()
    one.hear(frames(1))
    assert await one.opened() == [1, 2]
    one.hear(whole(2))
    assert without_times(one.client.data)[3:6] == [
        b"x-ringfence-tier: s",
        b"x-ringfence-upstream: v",
        b"x-ringfence-attempts: 2",
    ]
    assert not one.state.tasks


async def test_what_is_too_long_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    one = door()
    one.ask()
    monkeypatch.setattr("router.answer.is_json", lambda _: True)
    for number in (1, 2):
        await one.opened()
        one.hear(in_parts(number, GOOD, *[b"x" * (1 << 16)] * 1100))
    assert one.client.data.startswith(b"HTTP/1.1 502 ")


async def test_the_place_in_the_queue_is_told() -> None:
    one = door()
    one.ask()
    one.hear(pack(1, Kind.QUEUED, encode(Queued(3, 0.25))))
    one.hear(whole(1))
    assert b'\r\nserver-timing: queue;dur=250.0;desc="position 3", upstream;dur=' in one.client.data


async def test_a_client_that_reads_nothing_is_waited_for() -> None:
    one = door()
    one.ask()
    one.worker.pause_writing()
    one.hear(whole(1))
    await asyncio.sleep(0.02)
    assert one.client.data == b""
    one.worker.resume_writing()
    await asyncio.sleep(0.02)
    assert one.client.data.endswith(BODY)


async def test_a_client_that_leaves_stops_the_upstream_once() -> None:
    one = door()
    one.ask()
    (errand,) = one.state.tasks
    assert isinstance(errand, Errand)
    one.worker.connection_lost(None)
    assert not errand.cancel()
    assert [kind for _, kind, _ in await one.asked()] == [Kind.OPEN, Kind.BODY, Kind.CANCEL]
    assert not one.state.tasks
    one.hear(whole(1))
    assert one.client.data == b""


async def test_a_client_that_leaves_while_others_are_woken_is_not_answered() -> None:
    """Of frames that came at once the first wakes somebody who ends the second's connection."""
    one = door()
    one.ask()
    (errand,) = one.state.tasks
    waiter = one.gate._under_way[1].take(Kind.ANSWER, whole(1)[9:])
    assert waiter is not None
    assert waiter is cast("object", errand)
    one.worker.connection_lost(None)
    waiter.resume(waiter)
    assert one.client.data == b""


@pytest.mark.parametrize("asked", [1, 2], ids=["one", "pipelined"])
async def test_a_client_that_leaves_its_stream_costs_nobody_else_the_channel(asked: int) -> None:
    """What the gate sends in the same pass of the loop goes nowhere, and is no mistake."""
    one = door()
    stream = CHAT.replace(b"}]", b'}],"stream":true')
    one.worker.data_received(one.request(stream) * asked)
    one.hear(pack(1, Kind.RECORD, COUNT.pack(7)) + pack(1, Kind.HEAD, encode(Head(200, "text/event-stream"))))
    one.hear(pack(1, Kind.DATA, b"data: 1\n\n"))
    one.hear(pack(1, Kind.DATA, b"data: 2\n\n"))
    assert one.client.data.endswith(b"data: 2\n\n\r\n")
    one.client.lost = one.client.closed = True
    one.worker.connection_lost(None)
    one.hear(pack(1, Kind.DATA, b"data: 3\n\n"))
    assert [kind for _, kind, _ in await one.asked()] == [Kind.OPEN, Kind.BODY, Kind.CANCEL]
    assert not one.state.tasks


async def test_a_gate_that_goes_away_is_told_at_once() -> None:
    one = door()
    one.ask()
    await one.opened()
    one.link.connection_lost(None)
    assert one.client.data.startswith(b"HTTP/1.1 503 ")
    assert b"gate_unavailable" in one.client.data


@pytest.mark.parametrize(("where", "name"), [(Forwarder, "begin"), (Forwarder, "answered"), (protocol, "answer_bytes")])
async def test_a_mistake_in_the_short_way_leaves_the_long_one(
    where: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: object, **__: object) -> None:
        raise KeyError("a mistake")

    monkeypatch.setattr(where, name, mistaken)
    one = door()
    one.ask()
    assert await one.opened() == [1]
    one.hear(whole(1))
    assert one.client.data.endswith(BODY)


async def test_a_mistake_in_who_is_woken_is_not_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(*_: object, **__: object) -> bytes:
        raise KeyError("a mistake")

    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    one = door()
    one.ask()
    monkeypatch.setattr(RouterProtocol, "_served", mistaken)
    one.hear(whole(1))
    assert [type(error) for error in told] == [KeyError]
    assert one.client.data.endswith(BODY)


async def test_where_a_second_attempt_may_run_beside_the_first_a_coroutine_sees_to_it() -> None:
    one = door(hedge_after_s=5.0)
    one.ask()
    assert await one.opened() == [1]
    assert not any(isinstance(task, Errand) for task in one.state.tasks)
    one.hear(whole(1))
    await asyncio.sleep(0.02)
    assert one.client.data.endswith(BODY)


async def test_a_body_that_is_too_long_in_our_spelling_is_refused_with_a_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.body.msgspec.json.encode", lambda _: b" " * (1 << 28))
    one = door()
    one.ask(CHAT.replace(b'"model":"m",', b""))
    assert [kind for _, kind, _ in await one.asked()] == [Kind.DENY]
    one.hear(pack(1, Kind.RECORD, COUNT.pack(8)))
    assert one.client.data.startswith(b"HTTP/1.1 413 ")
    assert b"x-ringfence-record: 8" in one.client.data


async def test_a_refused_request_is_judged_once_and_its_record_and_answer_say_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if other settings come while its record is on its way, by which it would be served."""
    judgements: list[bytes] = []
    judge = Pipeline.judge

    def counted(pipeline: Pipeline, arrival: Arrival) -> Judged:
        judgements.append(arrival.body)
        return judge(pipeline, arrival)

    monkeypatch.setattr(Pipeline, "judge", counted)
    one = door()
    strict, open_to_all = one.worker.serving(), door().worker.serving()
    unserved = msgspec.structs.replace(strict.snapshot.policy, models={}, default_model="")
    snapshot = msgspec.structs.replace(strict.snapshot, policy=unserved)
    before = Application(snapshot, one.gate, View(), Log("test"), Steering(lambda _: None))
    one.worker.serving = lambda: before
    one.ask()
    one.worker.serving = lambda: open_to_all
    [(number, kind, payload)] = await one.asked()
    assert (kind, b"model_unknown" in payload, len(judgements)) == (Kind.DENY, True, 1)
    one.hear(pack(number, Kind.RECORD, COUNT.pack(8)))
    await asyncio.sleep(0.02)
    assert one.client.data.startswith(b"HTTP/1.1 404 ")
    assert b"x-ringfence-record: 8" in one.client.data
    assert (len(judgements), await one.opened()) == (1, [])


def keyed(application: Application, *keys: str) -> Application:
    """The same service, for these callers only: each is called by its key's id."""
    snapshot = application.snapshot
    policy = msgspec.structs.replace(
        snapshot.policy, any_caller=False, callers={key[3:5]: Caller(key[3:5]) for key in keys}
    )
    rules = tuple(KeyRule(key[3:5], hashlib.sha256(key.encode()).hexdigest(), key[3:5]) for key in keys)
    changed = msgspec.structs.replace(snapshot, policy=policy, keys=rules)
    return Application(changed, application.pipeline._gate, View(), Log("test"), Steering(lambda _: None))


async def test_each_request_of_a_connection_is_its_own_callers() -> None:
    one, first, second = door(), "rf_0a_" + "x" * 43, "rf_0b_" + "x" * 43
    application = keyed(one.worker.serving(), first, second)
    one.worker.serving = lambda: application
    told: list[bytes] = []
    for number, key in enumerate([first, first, second, "rf_0b_" + "y" * 43], start=1):
        one.ask(key=key)
        told.append(
            next((payload for at, kind, payload in await one.asked() if (at, kind) == (number, Kind.OPEN)), b"")
        )
        one.hear(whole(number))
    assert [b"\xa20a" in opening for opening in told] == [True, True, False, False]
    assert [b"\xa20b" in opening for opening in told] == [False, False, True, False]
    assert one.client.data.count(b"HTTP/1.1 200 ") == 3
    assert b"HTTP/1.1 401 " in one.client.data


async def test_a_key_that_goes_while_its_request_is_read_opens_nothing() -> None:
    one, first, second = door(), "rf_0a_" + "x" * 43, "rf_0b_" + "x" * 43
    old, new = keyed(one.worker.serving(), first, second), keyed(one.worker.serving(), second)
    one.worker.serving = lambda: old
    request = one.request(key=first)
    one.worker.data_received(request[:-5])
    one.worker.serving = lambda: new
    one.worker.data_received(request[-5:])
    assert one.client.data.startswith(b"HTTP/1.1 401 ")
    one.ask(key=first)
    assert one.client.data.count(b"HTTP/1.1 401 ") == 2
    assert await one.opened() == []


async def test_a_key_that_is_gone_is_nobodys_on_a_connection_that_knew_it() -> None:
    one, first, second = door(), "rf_0a_" + "x" * 43, "rf_0b_" + "x" * 43
    old, new = keyed(one.worker.serving(), first, second), keyed(one.worker.serving(), second)
    one.worker.serving = lambda: old
    one.ask(key=first)
    one.hear(whole(1))
    assert one.client.data.startswith(b"HTTP/1.1 200 ")
    one.worker.serving = lambda: new
    one.ask(key=first)
    assert b"HTTP/1.1 401 " in one.client.data
    assert await one.opened() == [1]


async def test_a_caller_known_by_older_settings_is_asked_for_again() -> None:
    """The head came under the old settings, the rest under new ones: whoever asks next is judged by the new alone."""
    one, first, second = door(), "rf_0a_" + "x" * 43, "rf_0b_" + "x" * 43
    old, new = keyed(one.worker.serving(), first, second), keyed(one.worker.serving(), first, second)
    request = one.request(key=first)
    one.worker.serving = lambda: old
    one.worker.data_received(request[:-5])
    one.worker.serving = lambda: new
    one.worker.data_received(request[-5:])
    assert one.worker.cycle.pipeline is new.pipeline  # type: ignore[attr-defined]
    assert one.worker.cycle.caller == new.snapshot.policy.callers["0a"]  # type: ignore[attr-defined]
    assert one.worker.cycle.caller is not old.snapshot.policy.callers["0a"]  # type: ignore[attr-defined]
    assert await one.opened() == [1]


async def test_without_a_gate_it_is_asked_for_when_there_is_one() -> None:
    one = door()
    link, one.gate._link = one.gate._link, None
    one.ask()
    await asyncio.sleep(0.02)
    assert one.client.data == b""
    one.gate._link = link
    one.gate._attached.set()
    (number,) = await one.opened()
    one.hear(whole(number))
    assert one.client.data.endswith(BODY)


async def test_upstreams_take_turns_where_a_second_attempt_may_run_beside_the_first() -> None:
    one = door(hedge_after_s=5.0)
    policy = one.worker.serving().snapshot.policy
    both = msgspec.structs.replace(policy, tiers={"t": TierRule("t", ("u", "v"))}, models={"m": ModelRule("m", ("t",))})
    snapshot = msgspec.structs.replace(one.worker.serving().snapshot, policy=both)
    application = Application(snapshot, one.gate, View(), Log("test"), Steering(lambda _: None))
    one.worker.serving = lambda: application
    for number in (1, 2, 3, 4):
        one.ask()
        assert len(await one.opened()) == number
        one.hear(whole(number))
        await asyncio.sleep(0.02)
    served = [line for line in one.client.data.split(b"\r\n") if line.startswith(b"x-ringfence-upstream")]
    assert [line[-1:] for line in served] in ([b"u", b"v"] * 2, [b"v", b"u"] * 2)
