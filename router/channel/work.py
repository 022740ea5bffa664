"""A coroutine driven by what wakes it: `Pause`, what it waits for, and `Work`, which runs it.

A request waits for one thing, the gate's next frames, and these are read by a callback of the loop. A task would be
woken by a future, in the loop's next pass; a Work goes on in that callback. Whatever else its coroutine awaits (a
timer, a task, a lock) is a future, and works as in a task, except what asks for the current task: there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any


class Pause:
    """Await it; `resume` then goes on with the Work that does, at once. Once only.

    A task may await it too: it has what a task asks of a future (see asyncio.isfuture), and goes on in the next pass.
    """

    __slots__ = ("_asyncio_future_blocking", "_cancelled", "_loop", "resume")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = True
        self._cancelled = False
        self.resume: Callable[[Pause], object] = _nobody  # call it with the pause itself

    def __await__(self) -> Generator[Pause, None, None]:
        yield self

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(self, wake: Callable[[Pause], object], *, context: Context | None = None) -> None:
        """A task's only: it calls this once, with what it is woken by. Woken twice, it would break."""

        def resume(pause: Pause) -> None:
            self.resume = _nobody
            self._loop.call_soon(wake, pause, context=context)

        self.resume = resume

    def cancel(self, msg: str | None = None) -> bool:
        """As a task cancels what it waits for. False: it is woken already, and tells itself."""
        resume = self.resume
        if resume is _nobody:
            return False
        self._cancelled = True
        resume(self)
        return True

    def result(self) -> None:
        if self._cancelled:
            raise asyncio.CancelledError


class Work:
    """One coroutine under way. As with a task, `cancel` ends it where it waits; `ended` is told when it is over."""

    __slots__ = ("_cancelled", "_coroutine", "_ended", "_loop", "_over", "_waits")

    def __init__(
        self, coroutine: Coroutine[Any, None, None], loop: asyncio.AbstractEventLoop, ended: Callable[[Work], None]
    ) -> None:
        self._coroutine = coroutine
        self._loop = loop
        self._ended = ended
        self._waits: Pause | asyncio.Future[Any] | None = None
        self._cancelled = False
        self._over = False

    def begin(self) -> None:
        """Run until it waits for the first time."""
        self._step()

    def begin_soon(self) -> None:
        """The same in the loop's next pass."""
        self._loop.call_soon(self._step)

    def cancel(self, msg: str | None = None) -> bool:
        """CancelledError where it waits; nothing of it runs where it has not begun. False when it is over."""
        if self._over:
            return False
        waits = self._waits
        if isinstance(waits, asyncio.Future) and waits.cancel(msg):
            return True
        if not self._cancelled:
            self._cancelled = True
            if isinstance(waits, Pause):
                self._waits = None
                self._loop.call_soon(self._step)
        return True

    def _step(self, woken: Pause | asyncio.Future[Any] | None = None) -> None:
        if self._over or woken is not self._waits:
            return
        self._waits = None
        try:
            if self._cancelled:
                self._cancelled = False
                waits = self._coroutine.throw(asyncio.CancelledError())
            else:
                waits = self._coroutine.send(None)
        except (StopIteration, asyncio.CancelledError):
            self._end()
        except Exception as error:  # noqa: BLE001 - as a task does: who wakes it is not to blame
            self._end()
            self._loop.call_exception_handler({"message": "a mistake in a Work", "exception": error})
        else:
            self._wait(waits)

    def _wait(self, waits: Pause | asyncio.Future[Any] | None) -> None:
        self._waits = waits
        if type(waits) is Pause and not self._cancelled:
            waits.resume = self._step
        elif isinstance(waits, asyncio.Future):
            waits.add_done_callback(self._step)
            if self._cancelled and waits.cancel():
                self._cancelled = False
        else:
            self._waits = None
            self._loop.call_soon(self._step)  # asyncio.sleep(0); or cancelled by itself, while it ran

    def _end(self) -> None:
        self._over = True
        self._ended(self)


def _nobody(_pause: Pause) -> None:
    """Nobody waits."""
