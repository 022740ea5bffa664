"""Starlette's routes for everything but generating: what a worker imports when the service has begun."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Match, Route
from starlette.types import ExceptionHandler, Receive, Scope, Send

from policies import Endpoint
from router.api.admin import Admin
from router.api.answers import Sent, as_error
from router.api.narrow import Narrow
from router.api.older import OLDER, RANKING
from router.api.refusals import Refusals
from router.api.status import Status
from router.channel.client import GateClient
from router.channel.steering import Steering
from router.errors import InvalidRequest, MethodNotAllowed, RouterError, UnknownPath
from router.settings.snapshot import Snapshot
from router.view import View

GENERATING: Final = (*(f"/v1/{endpoint}" for endpoint in Endpoint), *OLDER.values(), *map(bytes.decode, RANKING))


def operations(
    snapshot: Snapshot, gate: GateClient, view: View, steering: Steering, mistake: Callable[[Exception], Sent]
) -> Starlette:
    """One snapshot's worth. `mistake`: the answer where one of ours came to light."""

    async def internal(_request: Request, error: Exception) -> Sent:
        return mistake(error)

    handlers = {RouterError: Refusals(snapshot, gate).answer, HTTPException: http_error, Exception: internal}
    routed = Starlette(
        routes=[
            *Status(snapshot, gate, view).routes(),
            *Admin(snapshot, gate, view).routes(),
            *Narrow(snapshot, view, steering).routes(),
            *(Route(path, OnlyPost(path)) for path in GENERATING),
        ],
        exception_handlers=cast("Mapping[Any, ExceptionHandler]", handlers),  # Starlette calls any ASGI application
    )
    routed.router.redirect_slashes = False  # a redirect would name the host that the client's header names
    return routed


class OnlyPost(msgspec.Struct, frozen=True):
    """A generating endpoint, for what the protocol does not serve: it came by another method, or in another spelling.

    An ASGI application: to it Starlette's routes pass every method there is. It is no request, so it leaves no record.
    """

    path: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            answer = as_error(InvalidRequest(f"Write the target of the request just so: POST {self.path}"))
        else:
            answer = as_error(MethodNotAllowed(f"{self.path} takes POST."), allow="POST")
        await answer(scope, receive, send)


async def http_error(request: Request, error: Exception) -> Sent:
    """Starlette's own refusals, in our shape."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return as_error(UnknownPath("There is nothing at this path; GET / lists what there is."))
    if status == 405:
        return as_error(MethodNotAllowed(f"This path does not take {request.method}."), allow=_taken(request))
    return as_error(InvalidRequest("This request cannot be read."))


def _taken(request: Request) -> str:
    """The methods of all routes of this path (RFC 9110, 15.5.6): of several, Starlette names the first one's."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in routes for method in route.methods}))
