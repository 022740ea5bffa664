"""Pictures among texts in the scheduler: never in one decode, in turn, and no token lost, doubled or mixed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_engine.scheduling.scheduler import Scheduler
from local_engine.scheduling.step import Limits, Sequence, Step
from tests.local_engine.test_scheduler import Harness, alone

LIMITS = Limits(slots=3, cells=160, batch=16, chunk=8, queue=64)


LENGTHS = {1: 5, 2: 14, 3: 14}


def picture(number: int) -> list[int]:
    """The same picture has the same tokens, and no other has any of them."""
    return [-(1000 * number + index + 1) for index in range(LENGTHS[number])]


PIECES = st.one_of(
    st.lists(st.integers(0, 3), min_size=1, max_size=12),
    st.builds(picture, st.sampled_from([*LENGTHS])),
)
PROMPTS = st.lists(PIECES, min_size=1, max_size=5).map(lambda pieces: [*(t for piece in pieces for t in piece), 1])
ARRIVALS = st.lists(
    st.tuples(PROMPTS, st.integers(1, 8), st.sampled_from(["", "a"]), st.integers(0, 6), st.integers(0, 40)),
    min_size=1,
    max_size=10,
)


def runs(prompt: list[int]) -> tuple[tuple[int, int], ...]:
    """Where pictures stand."""
    firsts = {picture(number)[0]: length for number, length in LENGTHS.items()}
    return tuple((at, at + firsts[token]) for at, token in enumerate(prompt) if token in firsts)


class Seeing(Harness):
    """Checks every step; a picture's bounds are told with its prompt."""

    def submit(self, key: int, prompt: list[int], length: int, scope: str = "") -> Sequence | None:
        sequence = Sequence(key, scope, list(prompt), pictures=runs(prompt))
        self.lengths[key] = length
        return sequence if self.scheduler.submit(sequence) else None

    def step(self) -> Step:
        step = super().step()
        for span in step.spans:
            assert all((token < 0) == step.look for token in span.tokens)
        if step.look:
            assert len(step.spans) <= 1
            for span in step.spans:
                [number] = {(-token - 1) // 1000 for token in span.tokens}
                assert not self.scheduler.limits.whole or len(span.tokens) == LENGTHS[number], "a piece was cut"
        return step


@pytest.mark.parametrize("whole", [False, True])
@given(arrivals=ARRIVALS)
@settings(max_examples=60, deadline=None)
def test_no_token_is_lost_doubled_or_mixed(
    arrivals: list[tuple[list[int], int, str, int, int]], *, whole: bool
) -> None:
    harness = Seeing(Limits(slots=3, cells=160, batch=16, chunk=8, queue=64, whole=whole))
    cancelled: dict[int, Sequence] = {}
    for key, (prompt, length, scope, pause, cancel) in enumerate(arrivals):
        sequence = harness.submit(key, prompt, length, scope)
        for _ in range(pause):
            harness.step()
        if sequence is not None and cancel < 5 and key not in harness.finished:
            harness.scheduler.release(sequence)
            cancelled[key] = sequence
    harness.drain()
    for key, (prompt, length, *_) in enumerate(arrivals):
        if key not in cancelled:
            assert harness.finished[key] == alone(prompt, length)


def test_who_generates_goes_on_between_the_parts_of_a_picture() -> None:
    harness = Seeing(LIMITS)
    speaker = harness.submit(1, [1, 2], 40)
    harness.step()
    harness.submit(2, [*picture(2), *picture(3), 3], 1)
    assert speaker is not None
    looks = []
    while 2 not in harness.finished:
        before = len(speaker.tokens)
        step = harness.step()
        looks.append(step.look)
        assert len(speaker.tokens) - before == (not step.look)
    assert not any(first and second for first, second in pairwise(looks))
    assert sum(looks) == 4  # chunks of 8 and 6, twice


def test_an_equal_picture_is_looked_at_once() -> None:
    harness = Seeing(LIMITS)
    prompt = [*range(20), *picture(2), *range(20)]
    harness.submit(1, prompt, 1)
    harness.drain()
    again = harness.submit(2, [*prompt[:-2], 9, 9], 1)
    harness.drain()
    assert again is not None
    assert again.reused == len(prompt) - 2
    other = harness.submit(3, [*range(20), *picture(3), *range(20)], 1)
    harness.drain()
    assert other is not None
    assert other.reused == 20


def test_alone_a_picture_is_read_in_whole_batches() -> None:
    harness = Seeing(LIMITS)
    harness.submit(1, [*picture(2), 3], 1)
    assert [len(span.tokens) for span in harness.step().spans] == [14]


def test_where_only_pictures_wait_nobody_takes_turns_with_nobody() -> None:
    scheduler = Scheduler(LIMITS)
    for key in (2, 3):
        scheduler.submit(Sequence(key, "", [*picture(key), 3], pictures=((0, 14),)))
    looks = []
    for _ in range(4):
        step = scheduler.plan()
        looks.append(step.look)
        scheduler.commit(step)
    assert looks == [True, True, False, True]
