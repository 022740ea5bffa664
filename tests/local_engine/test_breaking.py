"""What clients see when the engine breaks under them: the server and its thread, with a loop that is made to fail."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_engine.api.app import make_app
from local_engine.api.front import Front
from local_engine.jobs import (
    EmbeddingTicket,
    Failed,
    Finished,
    Loaded,
    Message,
    Occupancy,
    Piece,
    Stop,
    Ticket,
    Unloaded,
    Usage,
)
from local_engine.launch import EngineSpec
from local_engine.library import Choice
from local_engine.service import EngineFailed, Service
from local_engine.text.template import ChatTemplate
from local_engine.worker.thread import Boot, Post
from tests.local_engine.conversation import chat_body, events_of

FACTS = Loaded(
    description="toy",
    fingerprint="f" * 64,
    context=100,
    embed_limit=50,
    width=4,
    vocabulary_size=256,
    beginning=(),
    template=ChatTemplate("{{ messages[0]['content'] }}", []),
    choice=Choice("safe", Path(), "the native library crashed with SIGILL"),
    tokenise=lambda text, _: list(text.encode()),
    piece=lambda token: bytes([token]),
    grammar=lambda _: "root ::= [a-z]",
    occupancy=lambda: Occupancy(0, 0, 1),
)


END = Finished("stop", Usage(1, 1, 0))


class ToyLoop:
    """Says one word for each job, then does what the test asks for."""

    def __init__(self, post: Post, then: Callable[[ToyLoop], None]) -> None:
        self.post, self.then = post, then
        self.tickets: list[Ticket | EmbeddingTicket] = []

    def take_in(self, inbox: queue.SimpleQueue[Message]) -> bool:
        message = inbox.get()
        if isinstance(message, Stop):
            return False
        if isinstance(message, Ticket | EmbeddingTicket):
            self.tickets.append(message)
        return True

    def advance(self) -> None:
        if isinstance(self.tickets[-1], Ticket):
            self.post([(self.tickets[-1].deliver, Piece("hello"))])
        self.then(self)

    def fail_all(self, why: Failed) -> None:
        self.post([(ticket.deliver, why) for ticket in self.tickets])

    def close(self) -> None:
        self.post([])


def booting(then: Callable[[ToyLoop], None]) -> Boot:
    return lambda post: (FACTS, ToyLoop(post, then))


def breaking(_: ToyLoop) -> None:
    raise RuntimeError("a defect")


def failing(code: str) -> Callable[[ToyLoop], None]:
    return lambda loop: loop.post([(loop.tickets[-1].deliver, Failed(code, "No."))])


def later(then: Callable[[ToyLoop], None]) -> Callable[[ToyLoop], None]:
    """After the first word has gone out; the server's loop has nothing else to do meanwhile."""

    def wait(loop: ToyLoop) -> None:
        time.sleep(0.2)
        then(loop)

    return wait


class Started:
    def __init__(self, boot: Boot, ready_wait: float = 5, idle_unload: float = 0) -> None:
        self.service = Service(boot, idle_unload)
        front = Front(self.service, EngineSpec(), 1 << 20, ready_wait)
        transport = httpx.ASGITransport(make_app(front), raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://engine")
        self.service.start()


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Started]]:
    found: list[Started] = []

    def starting(*arguments: Any) -> Started:
        found.append(Started(*arguments))
        return found[-1]

    yield starting
    for one in found:
        await one.client.aclose()
        one.service.stop()


@pytest.mark.parametrize("then", [breaking, failing("engine_error"), failing("grammar_dead_end")])
async def test_a_stream_that_breaks_ends_in_an_error_event_and_never_looks_complete(
    start: Callable[..., Started], then: Callable[[ToyLoop], None]
) -> None:
    started = start(booting(later(then)))
    answer = await started.client.post("/v1/chat/completions", json=chat_body(stream=True))
    events = events_of(answer.text)
    assert events[1]["choices"][0]["delta"]["content"] == "hello"
    assert set(events[-1]["error"]) == {"message", "type", "param", "code"}
    assert "[DONE]" not in events


@pytest.mark.parametrize(
    ("code", "status"),
    [("queue_full", 429), ("engine_error", 503), ("invalid_grammar", 400), ("grammar_dead_end", 500)],
)
async def test_a_failure_before_the_end_is_an_error_of_its_own_status(
    start: Callable[..., Started], code: str, status: int
) -> None:
    started = start(booting(failing(code)))
    answer = await started.client.post("/v1/chat/completions", json=chat_body())
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_health_tells_which_library_runs_and_later_why_nothing_does(start: Callable[..., Started]) -> None:
    started = start(booting(breaking))
    broke = asyncio.Event()
    started.service.on_failure = broke.set
    await started.service.wait_ready(5)
    health = (await started.client.get("/health")).json()
    assert (health["library"], health["reason"]) == ("safe", "the native library crashed with SIGILL")
    await started.client.post("/v1/completions", json={"prompt": "x"})
    await asyncio.wait_for(broke.wait(), 5)
    assert started.service.served
    failed = await started.client.get("/health")
    assert (failed.status_code, failed.json()["reason"]) == (500, "a defect")
    refused = await started.client.post("/v1/embeddings", json={"input": "x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_error")


async def test_a_model_that_never_comes(start: Callable[..., Started]) -> None:
    release = queue.SimpleQueue[None]()

    def slow(_: Post) -> tuple[Loaded, ToyLoop]:
        release.get()
        raise RuntimeError("no such file")

    started = start(slow, 0.05)
    answer = await started.client.post("/v1/chat/completions", json=chat_body())
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_loading")
    assert answer.headers["Retry-After"]
    release.put(None)
    with pytest.raises(EngineFailed, match="no such file"):
        await started.service.wait_ready(5)
    assert not started.service.served


async def test_embeddings_of_an_engine_that_breaks(start: Callable[..., Started]) -> None:
    started = start(booting(breaking))
    answer = await started.client.post("/v1/embeddings", json={"input": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_error")


async def test_a_defect_of_ours_shows_no_internals(
    start: Callable[..., Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start(booting(breaking))
    monkeypatch.setattr(started.service, "submit", lambda _: 1 / 0)
    answer = await started.client.post("/v1/completions", json={"prompt": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "division" not in answer.text


async def test_warm_says_when_the_engine_cannot(start: Callable[..., Started]) -> None:
    started = start(booting(failing("queue_full")))
    assert (await started.client.get("/warm")).status_code == 503


async def _becomes_idle(started: Started) -> None:
    deadline = time.monotonic() + 20
    while not started.service.idle:
        assert time.monotonic() < deadline, "it was never unloaded"
        await asyncio.sleep(0.01)


async def test_an_idle_model_is_unloaded_and_loaded_once_for_all_who_come() -> None:
    boots: list[ToyLoop] = []

    def boot(post: Post) -> tuple[Loaded, ToyLoop]:
        boots.append(ToyLoop(post, lambda loop: loop.post([(loop.tickets[-1].deliver, END)])))
        return FACTS, boots[-1]

    started = Started(boot, idle_unload=0.05)
    try:
        await started.service.wait_ready(5)
        await _becomes_idle(started)
        health = await started.client.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "idle")
        assert (await started.client.get("/")).json()["status"] == "idle"
        posts = [started.client.post("/v1/completions", json={"prompt": "x"}) for _ in range(8)]
        answers = await asyncio.gather(*posts)
        assert [answer.status_code for answer in answers] == [200] * 8
        assert len(boots) == 2
        await _becomes_idle(started)
    finally:
        await started.client.aclose()
        started.service.stop()


async def test_a_request_that_is_being_served_keeps_the_model_loaded() -> None:
    started = Started(booting(later(lambda _: None)), idle_unload=0.05)
    try:
        await started.service.wait_ready(5)
        with started.service.lease():
            await asyncio.sleep(0.3)
            assert not started.service.idle
        await _becomes_idle(started)
    finally:
        await started.client.aclose()
        started.service.stop()


async def test_a_model_that_goes_while_a_text_is_read_is_asked_again_later(start: Callable[..., Started]) -> None:
    def gone(_text: str, _special: bool) -> list[int]:
        raise Unloaded

    started = start(lambda post: (replace(FACTS, tokenise=gone), ToyLoop(post, lambda _: None)))
    answer = await started.client.post("/v1/chat/completions", json=chat_body())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["code"] == "engine_error"
