"""The scheduler against a model in pure Python: every token depends on the whole prefix, and the cache is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_engine.scheduling.fair_queue import FairQueue
from local_engine.scheduling.prefix import common_prefix
from local_engine.scheduling.scheduler import Scheduler
from local_engine.scheduling.step import Copy, Discard, Edit, Limits, Sequence, Step, SwapIn, SwapOut, Trim


def next_token(prefix: list[int]) -> int:
    """A "language model" whose answer tells any lost, doubled or foreign token in its prefix."""
    value = 7
    for token in prefix:
        value = (value * 31 + token + 1) % 1009
    return value


@dataclass
class ToyContext:
    """Cells as llama.cpp keeps them: each holds a token and belongs to a set of sequences."""

    capacity: int
    swap: int
    cells: list[tuple[int, int, set[int]]] = field(default_factory=list)
    copies: dict[int, list[int]] = field(default_factory=dict)

    def content(self, slot: int) -> list[int]:
        held = sorted((position, token) for position, token, owners in self.cells if slot in owners)
        assert [position for position, _ in held] == list(range(len(held))), "a hole in the sequence"
        return [token for _, token in held]

    def edit(self, edits: tuple[Edit, ...]) -> None:
        for edit in edits:
            match edit:
                case Copy():
                    self._share(edit)
                case Trim():
                    for position, _, owners in self.cells:
                        if position >= edit.length:
                            owners.discard(edit.slot)
                case SwapOut():
                    self.copies[edit.number] = self.content(edit.slot)
                case SwapIn():
                    assert not self.content(edit.slot)
                    self.cells += [(at, token, {edit.slot}) for at, token in enumerate(self.copies[edit.number])]
                    assert len(self.cells) <= self.capacity, "the cache overflowed"
                case Discard():
                    del self.copies[edit.number]
            assert sum(map(len, self.copies.values())) <= self.swap, "more memory than was allowed"
            self.cells = [cell for cell in self.cells if cell[2]]

    def _share(self, edit: Copy) -> None:
        assert not self.content(edit.target)
        for position, _, owners in self.cells:
            if edit.source in owners and position < edit.length:
                owners.add(edit.target)
        assert len(self.content(edit.target)) == edit.length

    def decode(self, step: Step) -> list[list[int]]:
        """What follows the last token of each span that asks for it, and each of the guesses before."""
        sampled = []
        for span in step.spans:
            assert len(self.content(span.slot)) == span.start
            self.cells += [(span.start + i, token, {span.slot}) for i, token in enumerate(span.tokens)]
            if span.sample:
                known = self.content(span.slot)
                sampled.append([next_token(known[: len(known) - back]) for back in range(span.guesses, -1, -1)])
        assert len(self.cells) <= self.capacity, "the cache overflowed"
        return sampled


class Harness:
    def __init__(self, limits: Limits, guesses: Callable[[Sequence], tuple[int, ...]] = lambda _: ()) -> None:
        self.guesses = guesses
        self.scheduler = Scheduler(limits)
        self.context = ToyContext(limits.cells, limits.swap)
        self.lengths: dict[int, int] = {}
        self.finished: dict[int, list[int]] = {}

    def submit(self, key: int, prompt: list[int], length: int, scope: str = "") -> Sequence | None:
        sequence = Sequence(key, scope, list(prompt))
        self.lengths[key] = length
        return sequence if self.scheduler.submit(sequence) else None

    def step(self) -> Step:
        if (only := self.scheduler.only) is not None:
            only.guesses = self.guesses(only)
        if self.scheduler.idle:
            self.rest()
        step = self.scheduler.plan()
        assert [span.slot for span in step.spans] == sorted({span.slot for span in step.spans})
        assert sum(len(span.tokens) for span in step.spans) <= self.scheduler.limits.batch
        swapped = self.scheduler.swapped
        assert sum(len(copy.tokens) for copy in swapped) <= swapped.capacity
        self.context.edit(step.edits)
        assert self.context.copies == {copy.number: list(copy.tokens) for copy in swapped}
        tokens = self.context.decode(step)
        spans = [span for span in step.spans if span.sample]
        for sequence, span, found in zip(self.scheduler.commit(step), spans, tokens, strict=True):
            guesses = span.tokens[len(span.tokens) - span.guesses :]
            for token, guess in zip(found, (*guesses, None), strict=True):
                self.scheduler.extend(sequence, token)
                if len(sequence.tokens) - sequence.prompt == self.lengths[sequence.key]:
                    self.finished[sequence.key] = sequence.tokens[sequence.prompt :]
                    self.scheduler.release(sequence)
                    break
                if token != guess:
                    break
            self.scheduler.settle(sequence)
        return step

    def rest(self) -> None:
        while edits := self.scheduler.tidy():
            self.context.edit(edits)

    def drain(self, most: int = 3000) -> None:
        for _ in range(most):
            if self.scheduler.idle:
                return self.rest()
            self.step()
        pytest.fail("sequences starve")


def alone(prompt: list[int], length: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(length):
        tokens.append(next_token(tokens))
    return tokens[len(prompt) :]


PROMPTS = st.integers(1, 40).flatmap(lambda n: st.lists(st.integers(0, 3), min_size=n, max_size=n))
ARRIVALS = st.lists(
    st.tuples(PROMPTS, st.integers(1, 20), st.sampled_from(["", "a"]), st.integers(0, 6), st.integers(0, 40)),
    min_size=1,
    max_size=14,
)


@settings(max_examples=150, deadline=None)
@given(
    arrivals=ARRIVALS,
    slots=st.integers(1, 5),
    cells=st.integers(61, 160),
    chunk=st.integers(1, 16),
    swap=st.integers(0, 120),
)
def test_no_token_is_lost_doubled_or_mixed(
    arrivals: list[tuple[list[int], int, str, int, int]], slots: int, cells: int, chunk: int, swap: int
) -> None:
    harness = Harness(Limits(slots=slots, cells=cells, batch=24, chunk=chunk, queue=100, swap=swap))
    doomed: dict[int, Sequence] = {}
    for key, (prompt, length, scope, pause, fate) in enumerate(arrivals):
        sequence = harness.submit(key, prompt, length, scope)
        assert sequence is not None
        if fate < 10:
            doomed[key] = sequence
        for _ in range(pause):
            harness.step()
        if fate < 5 and key not in harness.finished:
            harness.scheduler.release(doomed[key])
    harness.drain()
    cancelled = {key for key, arrival in enumerate(arrivals) if arrival[4] < 5} - harness.finished.keys()
    assert harness.finished.keys() | cancelled == set(range(len(arrivals)))
    for key, tokens in harness.finished.items():
        assert tokens == alone(arrivals[key][0], arrivals[key][1])


@settings(max_examples=100, deadline=None)
@given(arrivals=ARRIVALS, cells=st.integers(61, 160), data=st.data())
def test_guesses_right_and_wrong_change_no_token(
    arrivals: list[tuple[list[int], int, str, int, int]], cells: int, data: st.DataObject
) -> None:
    def guess(sequence: Sequence) -> tuple[int, ...]:
        left = lengths[sequence.key] - (len(sequence.tokens) - sequence.prompt)
        coming = alone(sequence.tokens, max(0, left - 1))[:6]
        wrong = data.draw(st.integers(0, 6))
        return tuple(token if number != wrong else 2000 for number, token in enumerate(coming))

    lengths = {key: length for key, (_, length, *_) in enumerate(arrivals)}
    harness = Harness(Limits(slots=3, cells=cells, batch=24, chunk=8, queue=100), guess)
    for key, (prompt, length, scope, pause, _) in enumerate(arrivals):
        assert harness.submit(key, prompt, length, scope)
        for _ in range(pause):
            harness.step()
    harness.drain()
    assert harness.finished == {key: alone(prompt, length) for key, (prompt, length, *_) in enumerate(arrivals)}


def test_nothing_is_given_up_for_a_guess() -> None:
    """A cached prefix of another caller stays, though the guesses would have liked its cells."""
    harness = Harness(Limits(slots=2, cells=48, batch=64), lambda _: (9,) * 30)
    assert harness.submit(0, [1] * 20, 1, "other")
    harness.drain()
    assert harness.submit(1, [2] * 20, 5, "mine")
    harness.drain()
    assert any(slot.scope == "other" and slot.tokens for slot in harness.scheduler.cells.slots)


def test_a_full_cache_preempts_the_youngest_and_everyone_still_finishes() -> None:
    harness = Harness(Limits(slots=4, cells=100, batch=64))
    for key in range(4):
        assert harness.submit(key, [key] * 10, 40)
    harness.step()
    assert len(harness.scheduler.running) > 1
    harness.drain()
    assert harness.scheduler.preemptions > 0
    assert harness.finished == {key: alone([key] * 10, 40) for key in range(4)}
    assert min(harness.finished, key=list(harness.finished).index) == 0, "the oldest is never the victim"


def test_one_request_may_use_the_whole_context() -> None:
    harness = Harness(Limits(slots=8, cells=100, batch=64))
    for key in range(8):
        assert harness.submit(key, [key] * 10, 1)
    harness.drain()
    assert harness.submit(9, list(range(60)), 40)
    harness.drain()
    assert harness.finished[9] == alone(list(range(60)), 40)


def test_a_running_generation_is_not_stalled_by_a_long_prompt() -> None:
    harness = Harness(Limits(slots=2, cells=1000, batch=256, chunk=32))
    assert harness.submit(0, [1, 2, 3], 100)
    harness.step()
    assert harness.submit(1, list(range(500)), 1)
    step = harness.step()
    assert {len(span.tokens) for span in step.spans} == {1, 32}


def test_the_shortest_prompt_goes_first_and_the_oldest_is_sure_of_a_share() -> None:
    harness = Harness(Limits(slots=3, cells=2000, batch=100))
    for key, length in enumerate((500, 400, 30)):
        assert harness.submit(key, [key] * length, 1)
    sizes = {span.slot: len(span.tokens) for span in harness.step().spans}
    assert sizes == {0: 25, 1: 45, 2: 30}


def test_prompts_that_came_together_are_read_one_after_the_other() -> None:
    harness = Harness(Limits(slots=4, cells=1000, batch=256, chunk=64))
    sequences = [harness.submit(key, [key] * 60, 20) for key in range(4)]
    generated = []
    for _ in range(4):
        harness.step()
        generated.append([len(sequence.tokens) - 60 for sequence in sequences if sequence])
    assert generated == [[1, 0, 0, 0], [2, 1, 0, 0], [3, 2, 1, 0], [4, 3, 2, 1]]


def test_a_prompt_that_nobody_waits_behind_is_read_in_whole_batches() -> None:
    harness = Harness(Limits(slots=2, cells=1000, batch=256, chunk=32))
    assert harness.submit(0, list(range(600)), 1)
    assert [len(harness.step().spans[0].tokens) for _ in range(2)] == [256, 256]


def test_a_common_prefix_is_decoded_once() -> None:
    harness = Harness(Limits(slots=4, cells=1000, batch=512, chunk=32))
    system = list(range(200))
    for key in range(4):
        assert harness.submit(key, [*system, 900 + key], 2)
    read, copies = 0, 0
    while not harness.scheduler.idle:
        step = harness.step()
        copies += sum(isinstance(edit, Copy) for edit in step.edits)
        read += sum(len(span.tokens) for span in step.spans)
        assert copies or len(step.spans) == 1, "three wait for the one that reads the prefix"
    assert copies == 3
    assert read <= 200 + 4 * (32 + 2), "at most a chunk of the prefix is read by each"
    assert all(harness.finished[key] == alone([*system, 900 + key], 2) for key in range(4))


def test_prefixes_are_not_shared_between_scopes() -> None:
    harness = Harness(Limits(slots=4, cells=1000))
    for key, scope in enumerate(("tenant-a", "tenant-b")):
        sequence = harness.submit(key, list(range(100)), 2, scope)
        harness.drain()
        assert sequence is not None
        assert sequence.reused == 0
    again = harness.submit(3, [*range(100), 5], 2, "tenant-a")
    harness.drain()
    assert again is not None
    assert again.reused == 100


def test_prefixes_that_nobody_works_on_leave_the_cache_and_come_back() -> None:
    harness = Harness(Limits(slots=3, cells=400, batch=200, swap=120))
    first, second, third = [1] * 50, [2] * 50, [3] * 50
    for key, prompt in enumerate((first, second, third)):
        harness.submit(key, prompt, 2)
        harness.drain()
    assert [copy.tokens[0] for copy in harness.scheduler.swapped] == [1, 2]
    assert harness.scheduler.cells.free == 400 - 51, "only what was used last is in the cache"
    again = harness.submit(3, [*first, 9], 3)
    harness.drain()
    assert again is not None
    assert again.reused == 50
    assert harness.finished[3] == alone([*first, 9], 3)
    assert [copy.tokens[0] for copy in harness.scheduler.swapped] == [2, 3], "it is in the cache again"
    harness.submit(4, [4] * 100, 1)
    harness.drain()
    harness.submit(5, [5] * 20, 1)
    harness.drain()
    assert [copy.tokens[0] for copy in harness.scheduler.swapped][-1] == 4, "the oldest went for the newest"
    assert sum(len(copy.tokens) for copy in harness.scheduler.swapped) <= 120


def test_the_prefix_used_last_leaves_too_once_others_do_nothing_but_generate() -> None:
    harness = Harness(Limits(slots=3, cells=400, batch=30, chunk=30, swap=200))
    harness.submit(0, [1] * 50, 2)
    harness.drain()
    assert not list(harness.scheduler.swapped), "the likeliest to be asked for again"
    harness.submit(1, [2] * 50, 9)
    swapped = [bool(list(harness.scheduler.swapped)) for _ in range(4) if harness.step()]
    assert swapped == [False, False, True, True], "two steps read the prompt; every token after it would pay"
    harness.drain()
    again = harness.submit(2, [*[1] * 50, 9], 2)
    harness.drain()
    assert again is not None
    assert again.reused == 50


def test_what_is_swapped_in_and_what_makes_room_for_it_fit_into_memory_together() -> None:
    harness = Harness(Limits(slots=2, cells=150, batch=200, swap=100))
    for key, prompt in enumerate(([1] * 90, [2] * 90, [1] * 91)):
        harness.submit(key, prompt, 1)
        harness.drain()
    assert harness.finished[2] == alone([1] * 91, 1)
    assert not harness.context.copies


def test_a_copy_that_others_share_is_kept() -> None:
    harness = Harness(Limits(slots=1, cells=400, batch=200, swap=300))
    common = [7] * 30
    for key, rest in enumerate(([1] * 70, [2] * 5, [3] * 5)):
        sequence = harness.submit(key, common + rest, 2)
        harness.drain()
        assert sequence is not None
        assert sequence.reused == (30 if key else 0)
    assert any(len(copy.tokens) > 90 for copy in harness.scheduler.swapped)


def test_the_waiting_line_is_bounded() -> None:
    scheduler = Scheduler(Limits(slots=1, cells=10, queue=2))
    verdicts = [scheduler.submit(Sequence(key, "", [1])) for key in range(3)]
    assert verdicts == [True, True, False]


def test_scopes_are_served_in_turn() -> None:
    queue = FairQueue(10)
    waiting = [Sequence(key, scope, [1]) for key, scope in enumerate("aaabc")]
    for sequence in waiting:
        queue.push(sequence)
    queue.remove(waiting[1])
    queue.put_back(Sequence(9, "a", [1]))
    queue.put_back(Sequence(8, "a", [1]))
    assert [queue.pop().key for _ in range(len(queue))] == [8, 9, 0, 3, 4, 2]
    assert queue.head() is None


def test_removing_the_last_of_a_scope_removes_the_scope() -> None:
    queue = FairQueue(10)
    lone, returned = Sequence(1, "a", [1]), Sequence(2, "a", [1])
    queue.push(lone)
    queue.put_back(returned)
    queue.remove(returned)
    queue.remove(lone)
    assert (len(queue), queue.head()) == (0, None)


def test_relieving_gives_up_caches_first_and_never_the_last_sequence() -> None:
    harness = Harness(Limits(slots=3, cells=200))
    assert harness.submit(0, [1] * 20, 1)
    harness.drain()
    assert harness.submit(1, [2] * 20, 50)
    assert harness.submit(2, [3] * 20, 50)
    harness.step()
    scheduler = harness.scheduler
    assert [scheduler.relieve() for _ in range(3)] == [True, True, False]
    assert [sequence.key for sequence in scheduler.running.values()] == [1]


@pytest.mark.parametrize(
    ("left", "right", "length"),
    [([], [1], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2, 4], 2), ([5], [6], 0), ([1] * 9, [1] * 4, 4)],
)
def test_common_prefix(left: list[int], right: list[int], length: int) -> None:
    assert common_prefix(left, right) == length
