"""Answers of the operations' endpoints, in the shapes that all of them share. Starlette is not needed for them."""

from __future__ import annotations

import msgspec
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from router.errors import GateUnavailable, RouterError, as_openai
from router.reply import Headers

COME_BACK_S = 2
TEXT = b"text/plain; charset=utf-8"


class Sent(msgspec.Struct, frozen=True):
    """A whole answer, as an ASGI application: Starlette calls what a route returns."""

    body: bytes
    status: int = 200
    headers: Headers = ()
    kind: bytes = b"application/json"

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        length = b"%d" % len(self.body)
        headers = [*self.headers, (b"content-length", length), (b"content-type", self.kind)]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def as_json(value: object, status: int = 200, headers: Headers = ()) -> Sent:
    return Sent(msgspec.json.encode(value) + b"\n", status, headers)


def as_error(error: RouterError, record: int | None = None, allow: str = "") -> Sent:
    """Any RouterError of these endpoints, in OpenAI's shape; `record`: the ledger index of its denial; `allow`: the
    methods that the path takes.
    """
    headers = [(b"allow", allow.encode())] if allow else []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after_s))))
    if record is not None:
        headers.append((b"x-ringfence-record", b"%d" % record))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return Sent(as_openai(error) + b"\n", error.status, headers)


def come_back() -> Headers:
    """Of an answer that may be another one soon."""
    return [(b"retry-after", b"%d" % COME_BACK_S)]


def gate_lost() -> GateUnavailable:
    return GateUnavailable("The gate is starting again; try again.", retry_after_s=COME_BACK_S)


def at_once(error: RouterError, request_id: str) -> bytes:
    """The whole answer, head and body, where no request was read; the connection closes after it."""
    body = as_openai(error) + b"\n"
    after = b"retry-after: %d\r\n" % error.retry_after_s if error.retry_after_s is not None else b""
    head = b"content-type: application/json\r\nconnection: close\r\n%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n"
    return STATUS_LINE[error.status] + head % (after, request_id.encode(), len(body)) + body
