"""Comments to a streaming client that waits long, so that nothing on the way closes its line."""

from __future__ import annotations

import asyncio

from router.channel.work import Work
from router.reply import Headers, Reply

HEARTBEAT = b": waiting for the model\n\n"


class Heartbeat:
    """One comment every so often, from `begin` to `stop`. The first one begins the answer, if nothing else has."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reply: Reply, every_s: float, headers: Headers) -> None:
        self._loop = loop
        self._reply = reply
        self._every_s = every_s
        self._headers = headers
        self._timer: asyncio.TimerHandle | None = None
        self._work: Work | None = None  # a comment that waits until the client can be sent more
        self._stopped = False

    def begin(self) -> None:
        self._timer = self._loop.call_later(self._every_s, self._beat)

    def stop(self) -> None:
        """None comes after this, not even one that waits already: what comes now is the answer, or its end."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._work is not None:
            self._work.cancel()

    def _beat(self) -> None:
        self._work = work = Work(self._tell(), self._loop, self._told)
        work.begin()

    def _told(self, _work: Work) -> None:
        self._work = None
        if not self._stopped:
            self.begin()

    async def _tell(self) -> None:
        if not self._reply.started:
            await self._reply.start(200, self._headers)
        await self._reply.write(HEARTBEAT)
