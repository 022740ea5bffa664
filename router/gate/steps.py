"""Run a coroutine without a task: it goes on in the very call that ends its wait, not a pass of the loop later.

An exchange that is admitted at once waits twice, for its record and for its answer. A task with its futures would cost
it more than all its decisions do, and each of its wake-ups another pass of the loop before anything is sent. What needs
a task, because it has timeouts of its own, is given one with `in_task`, and is waited for like anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Wait(Generic[T]):
    """Something to await, once, in a coroutine that is run by `Steps`."""

    __slots__ = ("_error", "_value", "ended", "steps")

    def __init__(self) -> None:
        self.ended = False
        self.steps: Steps | None = None  # who goes on at the end
        self._value: T | None = None
        self._error: BaseException | None = None

    def end(self, value: T | None = None, error: BaseException | None = None) -> None:
        """The coroutine goes on now, with `value` or by `error`; only the first call counts."""
        if self.ended:
            return
        self.ended, self._value, self._error = True, value, error
        if (steps := self.steps) is not None:
            self.steps = None
            steps.go_on()

    def settle(self, error: BaseException | None) -> None:
        """The end, of a wait that brings nothing."""
        if self.ended:
            return
        self.ended, self._error = True, error
        if (steps := self.steps) is not None:
            self.steps = None
            steps.go_on()

    def __await__(self) -> Generator[Wait[T], None, T]:
        if not self.ended:
            yield self
        if self._error is not None:
            error, self._error = self._error, None  # its traceback would hold us
            raise error
        return self._value  # type: ignore[return-value]  # None is what a Wait[None] ends with


class _OfTask(Wait[T]):
    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[T]) -> None:
        super().__init__()
        self._task = task
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.end(error=asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self.end(error=error)
        else:
            self.end(task.result())

    def cancel(self) -> bool:
        """False: it is over already, and what it brought must not be lost."""
        return self._task.cancel()


def in_task(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> Wait[T]:
    """`work` runs in a task of its own; cancelling who waits for it cancels it."""
    return _OfTask(loop.create_task(work))


class Steps:
    """One coroutine on its way. Whatever it raises in the end is told to the loop's exception handler."""

    __slots__ = ("_cancelled", "_coroutine", "_loop", "_wait")

    def __init__(self, coroutine: Coroutine[Wait[Any], None, None], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine: Coroutine[Wait[Any], None, None] | None = coroutine
        self._loop = loop
        self._wait: Wait[Any] | None = None
        self._cancelled = False  # to be told at the next wait

    def cancel(self) -> None:
        """CancelledError where it waits now, or will wait next; nothing once it is over."""
        wait = self._wait
        if wait is None:
            self._cancelled = True
        elif isinstance(wait, _OfTask):
            self._cancelled = not wait.cancel()  # it ends because of that, or with what it has got already
        else:
            wait.steps = None
            self.go_on(asyncio.CancelledError())

    def go_on(self, error: BaseException | None = None) -> None:
        """Run it up to its next wait, or to its end; `error`: raised where it waits."""
        coroutine, self._wait = self._coroutine, None
        if coroutine is None:
            return
        try:
            wait = coroutine.send(None) if error is None else coroutine.throw(error)
        except (StopIteration, asyncio.CancelledError):
            self._coroutine = None
        except Exception as mistake:  # noqa: BLE001 - of ours; nobody above us could do more
            self._coroutine = None
            self._loop.call_exception_handler({"message": "an exchange ended by a mistake", "exception": mistake})
        else:
            self._wait = wait
            wait.steps = self
            if self._cancelled:
                self._cancelled = False
                self.cancel()
