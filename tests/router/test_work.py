"""A Work is a task without the loop's queue: the same scripts end the same way in both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from router.channel.work import Pause, Work
from router.heartbeat import HEARTBEAT, Heartbeat
from router.reply import Headers

Script = Callable[[list[str], "asyncio.Future[None]"], Coroutine[Any, Any, None]]


async def at_once(log: list[str], _: asyncio.Future[None]) -> None:
    log.append("done")


async def waits(log: list[str], future: asyncio.Future[None]) -> None:
    try:
        await future
        log.append("woken")
    finally:
        log.append("finally")


async def yields(log: list[str], future: asyncio.Future[None]) -> None:
    for number in range(3):
        await asyncio.sleep(0)
        log.append(str(number))
    await future
    log.append("after")


async def swallows(log: list[str], future: asyncio.Future[None]) -> None:
    try:
        await future
    except asyncio.CancelledError:
        log.append("no")
    await asyncio.sleep(0)
    log.append("on")


async def of_a_task(log: list[str], future: asyncio.Future[None]) -> None:
    try:
        await asyncio.wait((asyncio.ensure_future(waits(log, future)),), timeout=5)
    finally:
        log.append("outer")


async def asks_twice(log: list[str], future: asyncio.Future[None]) -> None:
    for _ in range(2):
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            log.append("cancelled")
    log.append("end")


async def in_task(script: Script, log: list[str], act: Callable[[Any], None], future: asyncio.Future[None]) -> None:
    task = asyncio.ensure_future(script(log, future))
    await passes()
    act(task)
    await passes()
    log.append(f"cancel again: {task.cancel()}")
    await passes()


async def in_work(script: Script, log: list[str], act: Callable[[Any], None], future: asyncio.Future[None]) -> None:
    work = Work(script(log, future), asyncio.get_running_loop(), lambda _: None)
    work.begin()
    await passes()
    act(work)
    await passes()
    log.append(f"cancel again: {work.cancel()}")
    await passes()


async def passes() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


@pytest.mark.parametrize("script", [at_once, waits, yields, swallows, of_a_task, asks_twice])
@pytest.mark.parametrize("act", ["wake", "cancel", "wake, cancel", "cancel, wake", "cancel, cancel"])
async def test_it_ends_as_a_task_does(script: Script, act: str) -> None:
    logs: list[list[str]] = []
    for run in (in_task, in_work):
        log: list[str] = []
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def acts(what: Any, future: asyncio.Future[None] = future) -> None:
            for word in act.split(", "):
                if word == "cancel":
                    what.cancel()
                elif not future.done():
                    future.set_result(None)

        await run(script, log, acts, future)
        logs.append(log)
    assert logs[0] == logs[1]


async def paused(log: list[str], pause: Pause) -> None:
    try:
        await pause
        log.append("woken")
    except asyncio.CancelledError:
        log.append("cancelled")
        raise


async def test_it_goes_on_in_the_callback_that_wakes_it() -> None:
    log: list[str] = []
    pause = Pause(asyncio.get_running_loop())
    work = Work(paused(log, pause), asyncio.get_running_loop(), lambda _: log.append("over"))
    work.begin()
    assert log == []
    pause.resume(pause)
    assert log == ["woken", "over"]
    assert not work.cancel()


async def test_cancelled_in_a_pause_it_is_not_woken_any_more() -> None:
    log: list[str] = []
    pause = Pause(asyncio.get_running_loop())
    work = Work(paused(log, pause), asyncio.get_running_loop(), lambda _: log.append("over"))
    work.begin()
    assert work.cancel()
    assert work.cancel()
    pause.resume(pause)
    await passes()
    assert log == ["cancelled", "over"]


async def test_cancelled_before_it_began_nothing_of_it_runs() -> None:
    log: list[str] = []
    work = Work(
        paused(log, Pause(asyncio.get_running_loop())), asyncio.get_running_loop(), lambda _: log.append("over")
    )
    work.begin_soon()
    work.cancel()
    await passes()
    assert log == ["over"]


def a_pause() -> Pause:
    return Pause(asyncio.get_running_loop())


@pytest.mark.parametrize("wait", [a_pause, lambda: asyncio.sleep(30), lambda: asyncio.sleep(0)])
async def test_it_may_cancel_itself(wait: Callable[[], Awaitable[None]]) -> None:
    log: list[str] = []
    works: list[Work] = []

    async def script() -> None:
        works[0].cancel()
        log.append("still here")
        await wait()
        log.append("never")

    works.append(Work(script(), asyncio.get_running_loop(), lambda _: log.append("over")))
    works[0].begin()
    await passes()
    assert log == ["still here", "over"]


@pytest.mark.parametrize(
    ("act", "expected"), [("resume", ["woken"]), ("cancel", ["cancelled"]), ("both", ["cancelled"])]
)
async def test_a_task_may_await_a_pause_too(act: str, expected: list[str]) -> None:
    log: list[str] = []
    pause = a_pause()
    task = asyncio.ensure_future(paused(log, pause))
    await passes()
    if act != "resume":
        task.cancel()
    if act != "cancel":
        pause.resume(pause)
    await passes()
    assert log == expected
    assert task.done()


@pytest.mark.parametrize("acts", ["resume cancel", "resume cancel cancel", "cancel resume", "resume resume"])
async def test_a_task_is_woken_once_whatever_comes_in_one_pass(acts: str) -> None:
    """A second wake-up would reach what it waits for next, or a task that is over."""
    log: list[str] = []
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    pause = a_pause()

    async def script() -> None:
        for wait in (pause, asyncio.sleep(0.01)):
            try:
                await wait
                log.append("woken")
            except asyncio.CancelledError:
                log.append("cancelled")

    task = asyncio.ensure_future(script())
    await passes()
    for act in acts.split():
        if act == "cancel":
            task.cancel()
        else:
            pause.resume(pause)
    await task
    await passes()
    assert log == ["cancelled" if "cancel" in acts else "woken", "woken"]
    assert told == []


@pytest.mark.parametrize(("acts", "expected"), [("resume cancel", ["woken"]), ("cancel resume", ["cancelled"])])
async def test_a_work_is_woken_once_too(acts: str, expected: list[str]) -> None:
    log: list[str] = []
    pause = a_pause()
    work = Work(paused(log, pause), asyncio.get_running_loop(), lambda _: log.append("over"))
    work.begin()
    for act in acts.split():
        if act == "cancel":
            work.cancel()
        else:
            pause.resume(pause)
    await passes()
    assert log == [*expected, "over"]


async def test_its_mistake_is_told_and_nobody_elses() -> None:
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    pause = Pause(asyncio.get_running_loop())
    over: list[Work] = []

    async def script() -> None:
        await pause
        raise ValueError("mine")

    Work(script(), loop, over.append).begin()
    pause.resume(pause)
    assert [str(context["exception"]) for context in told] == ["mine"]
    assert len(over) == 1


# --- heartbeats ---


class Slow:
    """A Reply whose client reads nothing."""

    def __init__(self) -> None:
        self.started = False
        self.wrote: list[bytes] = []
        self.reads = asyncio.Event()

    async def start(self, status: int, headers: Headers) -> None:
        self.started = True

    async def write(self, data: bytes) -> None:
        await self.reads.wait()
        self.wrote.append(data)

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        raise AssertionError("it is a stream")

    def pour(self, data: bytes | memoryview) -> bool:
        return False

    async def finish(self) -> None:
        raise AssertionError


async def test_no_comment_follows_the_end() -> None:
    """One that waits for the client when the answer comes would stand behind the answer's last byte."""
    reply = Slow()
    heartbeat = Heartbeat(asyncio.get_running_loop(), reply, 0.001, [])
    heartbeat.begin()
    async with asyncio.timeout(5):
        while not reply.started:
            await asyncio.sleep(0.001)
    heartbeat.stop()
    reply.reads.set()
    await asyncio.sleep(0.01)
    assert reply.wrote == []


async def test_comments_go_on_until_they_are_stopped() -> None:
    reply = Slow()
    reply.reads.set()
    heartbeat = Heartbeat(asyncio.get_running_loop(), reply, 0.001, [])
    heartbeat.begin()
    async with asyncio.timeout(5):
        while len(reply.wrote) < 3:
            await asyncio.sleep(0.001)
    heartbeat.stop()
    wrote = list(reply.wrote)
    await asyncio.sleep(0.01)
    assert reply.wrote == wrote
    assert set(wrote) == {HEARTBEAT}
