"""The engine thread: every llama.cpp call of this process happens here.

Nothing in this module imports native code: the thread does, in `boot`, once the library is chosen.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Protocol

from local_engine.jobs import Delivery, EmbeddingTicket, Failed, Loaded, Message, Ticket

log = logging.getLogger("local_engine")

BROKEN = Failed("engine_error", "The engine stopped before the answer was complete. Try again.")

Post = Callable[[list[Delivery]], None]


class Loop(Protocol):
    """What `boot` makes: see local_engine.worker.loop.StepLoop."""

    def take_in(self, inbox: queue.SimpleQueue[Message]) -> bool: ...
    def advance(self) -> None: ...
    def fail_all(self, why: Failed) -> None: ...
    def close(self) -> None: ...


Boot = Callable[[Post], tuple[Loaded, Loop]]


class EngineThread(threading.Thread):
    """`boot` loads the model on this thread; `loaded`, `broken` and `post` report to the server.

    The three callbacks are called on this thread and must only hand over.
    """

    def __init__(
        self, boot: Boot, loaded: Callable[[Loaded], None], broken: Callable[[Exception], None], post: Post
    ) -> None:
        super().__init__(name="engine", daemon=True)
        self.inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._boot, self._loaded, self._broken, self._post = boot, loaded, broken, post

    def run(self) -> None:
        try:
            facts, loop = self._boot(self._post)
        except Exception as error:  # noqa: BLE001 - whatever stops the load is reported, and health says it
            self._broken(error)
            return
        self._loaded(facts)
        self._serve(loop)

    def _serve(self, loop: Loop) -> None:
        try:
            while loop.take_in(self.inbox):
                loop.advance()
        except Exception as error:
            log.exception("the engine thread failed")
            self._broken(error)
        finally:
            loop.fail_all(BROKEN)
            self._refuse_waiting()
            loop.close()

    def _refuse_waiting(self) -> None:
        """Jobs that arrived too late to be taken in."""
        late: list[Delivery] = []
        while not self.inbox.empty():
            message = self.inbox.get()
            if isinstance(message, Ticket | EmbeddingTicket):
                late.append((message.deliver, BROKEN))
        self._post(late)
