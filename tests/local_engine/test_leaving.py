"""Who leaves while others' texts are read is not read for any more: the one line that they wait in is short."""

from __future__ import annotations

import asyncio
import threading

import pytest
from starlette.requests import Request
from starlette.types import Message

from local_engine.api.errors import ApiError
from local_engine.api.leaving import unless_left
from local_engine.service import Service


def request_of(left: asyncio.Event) -> Request:
    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def no_boot(*_: object) -> tuple[object, object]:
    raise AssertionError


async def test_the_text_of_a_client_that_left_is_never_read() -> None:
    service = Service(no_boot)  # type: ignore[arg-type]  # it is never started
    read: list[str] = []
    entered, go_on = threading.Event(), threading.Event()

    def work(name: str) -> str:
        read.append(name)
        entered.set()
        assert go_on.wait(20)
        return name

    stays, leaves = asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(unless_left(request_of(stays), service.off_loop(work, "first")))
    while not entered.is_set():
        await asyncio.sleep(0.005)
    second = asyncio.create_task(unless_left(request_of(leaves), service.off_loop(work, "second")))
    third = asyncio.create_task(unless_left(request_of(stays), service.off_loop(work, "third")))
    await asyncio.sleep(0)
    leaves.set()
    with pytest.raises(ApiError) as left:
        await second
    assert left.value.status == 499
    go_on.set()
    assert (await first, await third) == ("first", "third")
    assert read == ["first", "third"]
    service.stop()


async def test_whoever_waits_for_it_can_be_cancelled_and_hears_what_went_wrong() -> None:
    ended = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def wrong() -> None:
        raise ValueError("wrong")

    waiting = asyncio.create_task(unless_left(request_of(asyncio.Event()), forever()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait_for(ended.wait(), 5)
    with pytest.raises(ValueError, match="wrong"):
        await unless_left(request_of(asyncio.Event()), wrong())
