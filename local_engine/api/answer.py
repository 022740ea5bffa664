"""One generation request from submitted jobs to the last byte, streamed or whole, with an eye on the client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from local_engine.api.errors import from_failure
from local_engine.api.shapes import Shape
from local_engine.jobs import Event, Failed, Finished, Piece, Usage
from local_engine.service import Answers

STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


@dataclass(frozen=True, slots=True)
class Reply:
    """How one request is answered."""

    shape: Shape
    choices: int
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
    body = reply.shape.whole(pieces, [ends[index] for index in range(reply.choices)])
    return Response(msgspec.json.encode(body) + b"\n", headers=reply.headers, media_type="application/json")


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
        shape, answers = self._reply.shape, self._answers
        head = _data(shape.opening(self._reply.choices))
        events = self._first
        while True:
            body = b"".join(self._event(index, event) for index, event in events)
            failed = any(isinstance(event, Failed) for _, event in events)
            over = answers.over
            tail = _data(shape.closing(self._usages)) + shape.terminator if over and not failed else b""
            yield head + body + tail
            if over or failed:
                return
            head = b""
            events = await answers.next()

    def _event(self, index: int, event: Event) -> bytes:
        if isinstance(event, Piece):
            return _data(self._reply.shape.piece(index, event))
        if isinstance(event, Finished):
            self._usages.append(event.usage)
            return _data(self._reply.shape.ending(index, event))
        return _data([from_failure(event).body()])


def _data(objects: Iterable[object]) -> bytes:
    return b"".join(b"data: " + msgspec.json.encode(one) + b"\n\n" for one in objects)
