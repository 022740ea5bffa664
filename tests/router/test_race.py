"""Two attempts at once: who wins, and what becomes of the loser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from router.race import race

Work = Coroutine[None, None, str]


async def after(seconds: float, result: str | Exception, ended: list[str], name: str = "") -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        ended.append(f"{name or result} cancelled")
        raise
    if isinstance(result, Exception):
        raise result
    return result


def once(work: Callable[[], Work | None], asked: list[int]) -> Callable[[], Work | None]:
    def second() -> Work | None:
        asked.append(1)
        return work()

    return second


@pytest.mark.parametrize(
    ("first", "second", "result", "ended", "asked"),
    [
        ((0.0, "one"), (0.0, "two"), "one", [], 0),
        ((30.0, "one"), (0.0, "two"), "two", ["one cancelled"], 1),
        ((0.1, "one"), (30.0, "two"), "one", ["two cancelled"], 1),
        ((0.1, "one"), (0.0, OSError("two")), "one", [], 1),
        ((0.1, OSError("one")), (0.3, "two"), "two", [], 1),
        ((0.05, "one"), None, "one", [], 1),
    ],
)
async def test_the_first_to_answer_wins(
    first: tuple[float, str | Exception], second: tuple[float, str | Exception] | None, result: str,
    ended: list[str], asked: int,
) -> None:  # fmt: skip
    seen: list[str] = []
    times: list[int] = []
    other = once(lambda: after(*second, seen) if second is not None else None, times)
    assert await race(after(*first, seen), other, 0.02) == result
    await asyncio.sleep(0)
    assert (seen, len(times)) == (ended, asked)


async def test_when_both_fail_the_last_error_is_told() -> None:
    with pytest.raises(OSError, match="late"):
        await race(after(0.1, OSError("late"), []), lambda: after(0.0, OSError("early"), []), 0.01)


async def test_when_the_first_fails_in_time_there_is_no_second() -> None:
    with pytest.raises(OSError, match="at once"):
        await race(after(0.0, OSError("at once"), []), lambda: after(0.0, "two", []), 30.0)


async def test_who_waits_for_both_and_leaves_cancels_both() -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def second() -> str:
        begun.set()
        return await after(30, "two", ended)

    racing = asyncio.create_task(race(after(30, "one", ended), second, 0.01))
    await begun.wait()
    racing.cancel()
    await asyncio.wait([racing])
    await asyncio.sleep(0)
    assert sorted(ended) == ["one cancelled", "two cancelled"]
