"""The ASGI lane: one request of a generating endpoint from uvicorn to the pipeline and back."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from policies import Endpoint
from router.errors import BodyTooLarge, RouterError
from router.logs import Log
from router.pipeline import Arrival, Pipeline, refuse
from router.reply import Headers

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

ENDPOINTS = {f"/v1/{endpoint}": endpoint for endpoint in Endpoint}
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class ClientLeft(Exception):
    """The client closed its connection before its request was whole."""


class AsgiReply:
    """A Reply over ASGI's send."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def start(self, status: int, headers: Headers) -> None:
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def header(scope: Scope, name: bytes) -> bytes:
    """The first header of this (lower-case) name, or nothing."""
    return next((value for key, value in scope["headers"] if key == name), b"")


def request_id(scope: Scope) -> str:
    """The caller's own id if it is well formed, else one of ours."""
    given = header(scope, b"x-request-id")
    return given.decode() if _WELL_FORMED.fullmatch(given) else f"rf-{secrets.token_hex(8)}"


async def serve(scope: Scope, receive: Receive, send: Send, pipeline: Pipeline, log: Log) -> None:
    """Answer one request; the pipeline is cancelled as soon as the client leaves."""
    reply, identity = AsgiReply(send), request_id(scope)
    try:
        body = await _read(scope, receive, pipeline.largest_body)
    except ClientLeft:
        return
    except RouterError as error:
        await refuse(reply, error, identity)
        return
    arrival = Arrival(
        endpoint=ENDPOINTS[scope["path"]],
        request_id=identity,
        authorization=header(scope, b"authorization").decode("latin-1"),
        reach=header(scope, b"x-ringfence-reach").decode("latin-1"),
        body=body,
    )
    await _until_the_client_leaves(pipeline.serve(arrival, reply), receive, reply, identity, log)


async def _until_the_client_leaves(
    serving: Awaitable[None], receive: Receive, reply: AsgiReply, identity: str, log: Log
) -> None:
    work = asyncio.ensure_future(serving)
    watch = asyncio.ensure_future(receive())  # the body is read: what comes now is http.disconnect
    try:
        await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
        await asyncio.wait((work,))
    finally:
        work.cancel()
        watch.cancel()
    error = None if work.cancelled() else work.exception()
    if error is not None:  # a mistake of ours: said in the log by its kind, to the client without a word of it
        log("internal_error", request_id=identity, reason=type(error).__name__)
        await refuse(reply, RouterError("Something went wrong here; the operator's log says what."), identity)


async def _read(scope: Scope, receive: Receive, largest: int) -> bytes:
    """The whole body; BodyTooLarge as soon as it is known to be."""
    announced = header(scope, b"content-length")
    error = BodyTooLarge(f"The body is larger than {largest} bytes.")
    if announced.isdigit() and int(announced) > largest:
        raise error
    chunks: list[bytes] = []
    held = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        chunk = message.get("body", b"")
        held += len(chunk)
        if held > largest:
            raise error
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)
