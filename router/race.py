"""Two attempts at once: the second begins when the first stays silent, and the first to answer wins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeVar

T = TypeVar("T")
Work = Coroutine[None, None, T]


async def race(first: Work[T], second: Callable[[], Work[T] | None], after_s: float) -> T:
    """The result of whichever succeeds first; the error of the last one when both fail.

    `second` is asked once, after `after_s` without a result; None: there is no second. The loser is cancelled.
    """
    running = {asyncio.ensure_future(first)}
    timeout: float | None = after_s
    try:
        while True:
            done, running = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                timeout = None
                other = second()
                running |= set() if other is None else {asyncio.ensure_future(other)}
                continue
            won = next((task for task in done if task.exception() is None), None)
            if won is not None or not running:
                return (won or done.pop()).result()
    finally:
        for task in running:
            task.cancel()
