"""A request whose answer is waited for without a coroutine: a callback sees to an answer that is there at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from router.api.app import Application
from router.api.cycle import HotCycle
from router.api.host import judge_origin
from router.api.singletons import judge_singletons
from router.forward import Forwarder
from router.pipeline import Arrival, Judged


class Errand(msgspec.Struct, eq=False):
    """Under way from when its first exchange is opened until there is something to look at: `resume` is told then.

    uvicorn sees a task in it, as in a Work: it may be cancelled, and `ended` is told.
    """

    cycle: HotCycle
    judged: Judged
    forwarder: Forwarder
    loop: asyncio.AbstractEventLoop
    resume: Callable[[Errand], None]
    ended: Callable[[Errand], None]
    over: bool = False

    def cancel(self, msg: str | None = None) -> bool:
        """The client left, or the service ends: the upstream stops. False when it is over."""
        if self.over:
            return False
        self.over = True
        self.forwarder.stop()
        self.loop.call_soon(self.ended, self)  # who cancels many may be looking through them
        return True


def arrival_of(cycle: HotCycle, identity: str, application: Application) -> Arrival:
    """The request as the pipeline takes it; InvalidRequest where its head, or its trailers, are refused."""
    first, pieces = cycle.first, cycle.pieces
    if len(first) != len(cycle.headers):
        judge_singletons(cycle.headers, first, old=not cycle.chunks)
    if application.snapshot.policy.any_caller:
        judge_origin(cycle.headers, application.snapshot)
    caller = cycle.caller if cycle.pipeline is application.pipeline else None
    return Arrival(
        cycle.endpoint,
        identity,
        cycle.text(b"authorization") if caller is None else "",
        cycle.all(b"x-ringfence-reach").decode("latin-1") if b"x-ringfence-reach" in first else "",
        pieces[0] if len(pieces) == 1 else b"".join(pieces),
        cycle.refusal,
        caller,
        cycle.text(b"x-session-id") if b"x-session-id" in first else "",
    )
