"""The ASGI application of a worker: generating endpoints to the pipeline, the rest to Starlette's routes."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from router.api.host import judge_origin
from router.api.lane import ENDPOINTS, AsgiReply, Receive, Scope, Send, request_id, serve
from router.api.status import Status, as_error
from router.channel.client import GateClient
from router.errors import InvalidRequest, MethodNotAllowed, RouterError, UnknownPath
from router.logs import Log
from router.pipeline import Pipeline, refuse
from router.settings.snapshot import Snapshot
from router.view import View


class Application:
    """One snapshot's worth of service."""

    def __init__(self, snapshot: Snapshot, gate: GateClient, view: View, log: Log) -> None:
        self._snapshot = snapshot
        self._pipeline = Pipeline(snapshot, gate)
        self._log = log
        self._operations = Starlette(
            routes=Status(snapshot, gate, view).routes(),
            exception_handlers={RouterError: _router_error, HTTPException: _http_error, Exception: self._mistake},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        reply, path = AsgiReply(send), scope["path"]
        try:
            judge_origin(scope, self._snapshot)
            if path in ENDPOINTS and scope["method"] != "POST":
                raise MethodNotAllowed(f"{path} takes POST.")
        except RouterError as error:
            await refuse(reply, error, request_id(scope))
            return
        if path in ENDPOINTS:
            await serve(scope, receive, send, self._pipeline, self._log)
        else:
            await self._operations(scope, receive, send)

    async def _mistake(self, _request: Request, error: Exception) -> Response:
        self._log("internal_error", reason=type(error).__name__)
        return as_error(RouterError("Something went wrong here; the operator's log says what."))


async def _router_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RouterError)  # noqa: S101 - registered for this class
    return as_error(error)


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals, in our shape."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return as_error(UnknownPath("There is nothing at this path; GET / lists what there is."))
    if status == 405:
        return as_error(MethodNotAllowed(f"This path does not take {request.method}."))
    return as_error(InvalidRequest("This request cannot be read."))
