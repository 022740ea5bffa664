"""A client that leaves: what is done for it stops, and what of that still waits is never begun."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from local_engine.api.errors import ApiError

T = TypeVar("T")


async def unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What comes of it. ApiError (499, which nobody reads) where the client leaves before; then it is cancelled."""
    doing, gone = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((doing, gone), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
    finally:
        gone.cancel()
        doing.cancel()
    raise ApiError(499, "The client left before the answer was complete.", "client_left")


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
