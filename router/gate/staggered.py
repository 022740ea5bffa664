"""Connect to one of several addresses of a host, after RFC 8305 (Happy Eyeballs): a silent address costs its own share
of the patience, not all of it. Each further address is tried a little later than the one before, or at once when that
one failed; the first connection wins.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence

from router.channel.messages import Cause
from router.gate.connection import UpstreamConnection, UpstreamFault

APART_S = 0.25  # RFC 8305, 8: "Connection Attempt Delay"
Dial = Callable[[], Coroutine[None, None, UpstreamConnection]]
Task = asyncio.Task[UpstreamConnection]


def apart_s(addresses: int, timeout_s: float) -> float:
    """Seconds between two attempts, so that the last address has its share of the time too."""
    return min(APART_S, timeout_s / (addresses + 1))


async def first_connection(dials: Sequence[Dial], apart: float) -> UpstreamConnection:
    """The first that stands, the others closed; the last one's UpstreamFault when none does."""
    if len(dials) == 1:
        return await dials[0]()
    fault = UpstreamFault(Cause.REFUSED, "no address answered")
    waiting, running = deque(dials), set[Task]()
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.ensure_future(waiting.popleft()()))
            timeout = apart if waiting else None
            done, running = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if isinstance(error := task.exception(), UpstreamFault):
                    fault = error
                    continue
                running |= done - {task}
                return task.result()
        raise fault
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close)


def _close(task: Task) -> None:
    """One that won too late."""
    if not task.cancelled() and task.exception() is None:
        task.result().abort()
