"""A caller of the operations' endpoints that leaves while it waits: the wait ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.requests import Request

T = TypeVar("T")


async def unless_left(request: Request, work: Coroutine[None, None, T]) -> T | None:
    """Do it; None, and the work cancelled, if the client closed first: nobody reads the answer then."""
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((task, left), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        left.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue  # a body that nobody needs
