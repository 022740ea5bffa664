"""One generation request from submitted jobs to the last byte, streamed or whole, with an eye on the client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from local_engine.api.dialects import Dialect, Heading, JsonObject, usage_object
from local_engine.api.errors import from_failure
from local_engine.jobs import Event, Failed, Finished, Piece, Usage
from local_engine.service import Answers

DONE = b"data: [DONE]\n\n"
STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


@dataclass(frozen=True, slots=True)
class Reply:
    """How one request is answered. `prompts[i]` is the number of choices made from prompt i."""

    dialect: Dialect
    heading: Heading
    choices: int
    usage_chunk: bool
    headers: dict[str, str]


async def answer(request: Request, answers: Answers, reply: Reply, *, stream: bool) -> Response:
    """Waits for the first event, so that a refusal still has its own status. Raises ApiError."""
    watch = asyncio.create_task(_abandon_when_left(request, answers))
    try:
        first = await answers.next()
        _raise_failure(first)
        if stream:
            return EventStream(first, answers, reply, watch)
        return await _whole(first, answers, reply)
    except BaseException:
        answers.cancel()
        watch.cancel()
        raise
    finally:
        if not stream:
            watch.cancel()


async def _abandon_when_left(request: Request, answers: Answers) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    answers.abandon()


def _raise_failure(events: list[tuple[int, Event]]) -> None:
    for _, event in events:
        if isinstance(event, Failed):
            raise from_failure(event)


async def _whole(first: list[tuple[int, Event]], answers: Answers, reply: Reply) -> Response:
    pieces: list[list[Piece]] = [[] for _ in range(reply.choices)]
    ends: dict[int, Finished] = {}
    events = first
    while True:
        _raise_failure(events)
        for index, event in events:
            if isinstance(event, Piece):
                pieces[index].append(event)
            elif isinstance(event, Finished):
                ends[index] = event
        if answers.over:
            break
        events = await answers.next()
    choices = [reply.dialect.whole(index, pieces[index], ends[index].reason) for index in range(reply.choices)]
    body = reply.heading.object(reply.dialect.whole_object, choices)
    body["usage"] = usage_object([ends[index].usage for index in range(reply.choices)])
    return Response(msgspec.json.encode(body), headers=reply.headers, media_type="application/json")


class EventStream(Response):
    """Server-sent events, each whole in one write; several that are ready together share a write."""

    media_type = "text/event-stream"

    def __init__(
        self, first: list[tuple[int, Event]], answers: Answers, reply: Reply, watch: asyncio.Task[None]
    ) -> None:
        super().__init__(headers={**STREAM_HEADERS, **reply.headers})
        del self.headers["content-length"]
        self._first, self._answers, self._reply, self._watch = first, answers, reply, watch
        self._usages: list[Usage] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with contextlib.aclosing(self._writes()) as writes:
                async for write in writes:
                    await send({"type": "http.response.body", "body": write, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._answers.cancel()
            self._watch.cancel()

    async def _writes(self) -> AsyncGenerator[bytes, None]:
        dialect = self._reply.dialect
        openings = (dialect.opening(index) for index in range(self._reply.choices))
        head = b"".join(self._chunk([opening]) for opening in openings if opening)
        events = self._first
        while True:
            body = b"".join(self._event(index, event) for index, event in events)
            failed = any(isinstance(event, Failed) for _, event in events)
            over = self._answers.over
            yield head + body + (self._tail() if over and not failed else b"")
            if over or failed:
                return
            head = b""
            events = await self._answers.next()

    def _event(self, index: int, event: Event) -> bytes:
        if isinstance(event, Piece):
            return self._chunk([self._reply.dialect.delta(index, event)])
        if isinstance(event, Finished):
            self._usages.append(event.usage)
            return self._chunk([self._reply.dialect.ending(index, event.reason)])
        return _data(from_failure(event).body())

    def _chunk(self, choices: list[JsonObject]) -> bytes:
        body = self._reply.heading.object(self._reply.dialect.stream_object, choices)
        if self._reply.usage_chunk:
            body["usage"] = None
        return _data(body)

    def _tail(self) -> bytes:
        if not self._reply.usage_chunk:
            return DONE
        body = self._reply.heading.object(self._reply.dialect.stream_object, [])
        body["usage"] = usage_object(self._usages)
        return _data(body) + DONE


def _data(value: object) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
