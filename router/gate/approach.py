"""What an upstream may need before it is asked: to be started, to be woken, or to be looked at."""

from __future__ import annotations

from asyncio import AbstractEventLoop

from router.channel.messages import Cause, Open
from router.gate.deadline import Deadline
from router.gate.doors import Door, Doors
from router.gate.steps import in_task
from router.gate.upstreams import Upstreams
from router.settings.snapshot import Timeouts


async def until_open(loop: AbstractEventLoop, doors: Doors, door: Door, deadline: Deadline, longest_s: float) -> None:
    """Without a task, so that it is still open when this returns. UpstreamFault: it is not opened in time."""
    while not door.open:
        await in_task(loop, doors.enter(door, min(longest_s, deadline.left_s)))


async def until_ready(
    loop: AbstractEventLoop, upstreams: Upstreams, message: Open, timeouts: Timeouts, deadline: Deadline
) -> bool:
    """Without a task. Whether it was ready when we came; UpstreamFault: it gets no prompt, or cannot be had in time."""
    upstream, longest_s = message.upstream, timeouts.cold_start_s
    ready = upstreams.is_ready(upstream)
    if not ready and message.wait:
        await in_task(loop, _woken(upstreams, upstream, longest_s, deadline))
    if not upstreams.known(upstream):
        await in_task(loop, upstreams.identified(upstream, min(longest_s, deadline.left_s)))
    return ready


async def _woken(upstreams: Upstreams, upstream: str, longest_s: float, deadline: Deadline) -> None:
    async with deadline.within(longest_s, Cause.COLD):
        await upstreams.ready(upstream)
