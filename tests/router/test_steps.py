"""A coroutine without a task: when it goes on, how it is cancelled, and what becomes of its mistakes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from router.gate.desk import Afterwards
from router.gate.steps import Steps, Wait, in_task


async def noting(log: list[object], *waits: Any) -> None:
    """Awaits them in turn; what each brings or raises goes into the log."""
    for wait in waits:
        try:
            log.append(await wait)
        except asyncio.CancelledError:
            log.append("cancelled")
        except ValueError as error:
            log.append(str(error))
    log.append("over")


def begun(log: list[object], *waits: Any) -> Steps:
    steps = Steps(noting(log, *waits), asyncio.get_running_loop())
    steps.go_on()
    return steps


async def test_it_goes_on_in_the_very_call_that_ends_its_wait() -> None:
    log: list[object] = []
    first, second = Wait[int](), Wait[int]()
    begun(log, first, second)
    first.end(1)
    assert log == [1]
    first.end(11)  # only the first counts
    second.settle(ValueError("no"))
    assert log == [1, "no", "over"]


async def test_what_has_ended_is_not_waited_for() -> None:
    log: list[object] = []
    wait = Wait[int]()
    wait.end(1)
    begun(log, wait)
    assert log == [1, "over"]


async def test_a_cancelled_wait_is_over_at_once_and_its_end_comes_too_late() -> None:
    log: list[object] = []
    first, second = Wait[int](), Wait[int]()
    steps = begun(log, first, second)
    steps.cancel()
    first.end(1)
    assert log == ["cancelled"]
    second.end(2)
    steps.cancel()  # nothing is left to cancel
    steps.go_on()
    assert log == ["cancelled", 2, "over"]


async def test_whoever_is_cancelled_while_it_runs_hears_of_it_at_its_next_wait() -> None:
    log: list[object] = []
    wait = Wait[None]()

    async def itself() -> None:
        steps.cancel()
        log.append("runs on")
        await noting(log, wait)

    steps = Steps(itself(), asyncio.get_running_loop())
    steps.go_on()
    assert log == ["runs on", "cancelled", "over"]


async def later(log: list[object], seconds: float) -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        log.append("inside")
        raise
    return "value"


async def fails() -> None:
    raise ValueError("failed")


async def until(log: list[object]) -> None:
    async with asyncio.timeout(10):
        while log[-1:] != ["over"]:
            await asyncio.sleep(0.001)


async def test_a_task_is_waited_for_like_anything_else() -> None:
    log: list[object] = []
    loop = asyncio.get_running_loop()
    begun(log, in_task(loop, later(log, 0)), in_task(loop, fails()))
    await until(log)
    assert log == ["value", "failed", "over"]


async def test_cancelling_who_waits_for_a_task_cancels_the_task_first() -> None:
    log: list[object] = []
    steps = begun(log, in_task(asyncio.get_running_loop(), later(log, 1000)))
    await asyncio.sleep(0)
    steps.cancel()
    await until(log)
    assert log == ["inside", "cancelled", "over"]


async def test_what_a_task_got_when_it_was_too_late_to_cancel_it_is_not_lost() -> None:
    log: list[object] = []
    steps = begun(log, in_task(asyncio.get_running_loop(), later(log, 0)), Wait[None]())
    done = asyncio.all_tasks() - {asyncio.current_task()}
    while not all(task.done() for task in done):
        await asyncio.sleep(0)
    assert log == []  # it is done, but has not told yet
    steps.cancel()
    await until(log)
    assert log == ["value", "cancelled", "over"]


@pytest.mark.parametrize("error", [ZeroDivisionError(), asyncio.CancelledError()])
async def test_a_mistake_is_told_to_the_loop_and_ends_nobody_else(error: BaseException) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    wait = Wait[None]()

    async def mistaken() -> None:
        await wait

    Steps(mistaken(), asyncio.get_running_loop()).go_on()
    wait.settle(error)
    assert [context["exception"] for context in told] == ([error] if isinstance(error, Exception) else [])


async def test_what_is_done_afterwards_is_done_in_order_and_a_mistake_ends_nobody_else() -> None:
    loop, told, log = asyncio.get_running_loop(), list[dict[str, Any]](), list[int]()
    loop.set_exception_handler(lambda _, context: told.append(context))
    afterwards = Afterwards(loop)

    def mistaken() -> None:
        raise ZeroDivisionError

    afterwards.do(lambda: log.append(1))
    afterwards.do(mistaken)
    afterwards.do(lambda: log.append(2))
    assert log == []
    await asyncio.sleep(0)
    assert log == [1, 2]
    assert [type(context["exception"]) for context in told] == [ZeroDivisionError]
    afterwards.do(lambda: log.append(3))
    await asyncio.sleep(0)
    assert log == [1, 2, 3]
