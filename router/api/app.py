"""What one worker serves under one snapshot: the pipeline, and Starlette's routes for everything but generating."""

from __future__ import annotations

from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from policies import Endpoint
from router.api.admin import Admin
from router.api.answers import as_error
from router.api.cycle import request_id
from router.api.host import judge_origin
from router.api.narrow import Narrow
from router.api.older import OLDER, RANKING
from router.api.refusals import Refusals
from router.api.singletons import judge_singletons
from router.api.status import Status
from router.channel.client import GateClient
from router.channel.steering import Steering
from router.errors import MISTAKE, InvalidRequest, MethodNotAllowed, RouterError, UnknownPath
from router.logs import Log
from router.pipeline import Pipeline
from router.settings.snapshot import Snapshot
from router.unforeseen import described
from router.view import View


class Application:
    """One snapshot's worth of service. As an ASGI application it serves all but the generating endpoints' POST."""

    def __init__(self, snapshot: Snapshot, gate: GateClient, view: View, log: Log, steering: Steering) -> None:
        self.snapshot = snapshot
        self.pipeline = Pipeline(snapshot, gate)
        self.largest_body = snapshot.limits.body_bytes
        self._log = log
        operations = Starlette(
            routes=[
                *Status(snapshot, gate, view).routes(),
                *Admin(snapshot, gate, view).routes(),
                *Narrow(snapshot, view, steering).routes(),
                *map(_only_post, GENERATING),
            ],
            exception_handlers={
                RouterError: Refusals(snapshot, gate).answer,
                HTTPException: http_error,
                Exception: self._mistake,
            },
        )
        operations.router.redirect_slashes = False  # a redirect would name the host that the client's header names
        self._operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        first = dict(reversed(scope["headers"]))
        given = request_id(first.get(b"x-request-id", b""))
        scope["ringfence.request_id"], identity = given, given.encode()

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", identity)]
            await send(message)

        try:
            judge_singletons(scope["headers"], first)
            judge_origin(scope["headers"], self.snapshot)
        except InvalidRequest as error:
            await as_error(error)(scope, receive, named)
            return
        await self._operations(scope, receive, named)

    async def _mistake(self, _request: Request, error: Exception) -> Response:
        self._log("internal_error", reason=described(error))
        return as_error(RouterError(MISTAKE))


GENERATING: Final = (*(f"/v1/{endpoint}" for endpoint in Endpoint), *OLDER.values(), *map(bytes.decode, RANKING))


def _only_post(path: str) -> Route:
    """The generating endpoints are served by the protocol; what comes here came by another method."""

    async def refuse(request: Request) -> Response:
        return as_error(MethodNotAllowed(f"{request.url.path} takes POST."))  # no request, so no record

    return Route(path, refuse, methods=["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])


async def http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals, in our shape."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return as_error(UnknownPath("There is nothing at this path; GET / lists what there is."))
    if status == 405:
        return as_error(MethodNotAllowed(f"This path does not take {request.method}."))
    return as_error(InvalidRequest("This request cannot be read."))
