"""Answers of the operations' endpoints, in the shapes that all of them share."""

from __future__ import annotations

import msgspec
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from router.errors import GateUnavailable, RouterError, as_openai

COME_BACK_S = 2


def as_json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value) + b"\n", status, headers, "application/json")


def as_error(error: RouterError, record: int | None = None) -> Response:
    """Any RouterError of these endpoints, in OpenAI's shape; `record`: the ledger index of its denial."""
    headers = {"retry-after": str(max(1, round(error.retry_after_s)))} if error.retry_after_s is not None else {}
    if record is not None:
        headers["x-ringfence-record"] = str(record)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(as_openai(error) + b"\n", error.status, headers, "application/json")


def gate_lost() -> GateUnavailable:
    return GateUnavailable("The gate is starting again; try again.", retry_after_s=COME_BACK_S)


def at_once(error: RouterError, request_id: str) -> bytes:
    """The whole answer, head and body, where no request was read; the connection closes after it."""
    body = as_openai(error) + b"\n"
    after = b"retry-after: %d\r\n" % error.retry_after_s if error.retry_after_s is not None else b""
    head = b"content-type: application/json\r\nconnection: close\r\n%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n"
    return STATUS_LINE[error.status] + head % (after, request_id.encode(), len(body)) + body
