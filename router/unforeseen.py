"""What fails in a way that nobody thought of: who hears of it, and what is said: its place, never its words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from router.logs import Log

AGAIN_S: Final = 5.0


def described(error: BaseException) -> str:
    """What it is and where it was raised; no text of it, which may quote anything."""
    why = error.strerror if isinstance(error, OSError) else None
    place, at = error.__traceback__, ""
    while place is not None:
        at = f" at {Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}"
        place = place.tb_next
    return f"{type(error).__name__}{f' ({why})' if why else ''}{at}"


def hear(loop: asyncio.AbstractEventLoop, log: Log) -> None:
    """From now on what fails in this loop's callbacks, and in tasks that nobody waits for, is a line of this log."""

    def told(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        reason = described(error) if isinstance(error, BaseException) else str(context.get("message", "no reason"))
        log("internal_error", reason=reason)

    loop.set_exception_handler(told)


def heard(task: asyncio.Task[Any]) -> None:
    """For `add_done_callback`: its loop is told of its failure, though nobody waits for it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": "a task failed", "exception": error})


def spawn(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    """Begin it in a task that `tasks` keeps until it is over. Nobody waits for it: if it fails, its loop is told."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    task.add_done_callback(heard)


async def kept_up(what: str, work: Callable[[], Awaitable[None]], log: Log) -> None:
    """Do it; begun again, a little later, whenever it fails. `what`: in words, for whoever reads the log."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is said, and the work goes on
            log("task_failed", state=what, reason=f"{described(error)}; it begins again in {AGAIN_S:g} s")
        else:
            return
        await asyncio.sleep(AGAIN_S)
