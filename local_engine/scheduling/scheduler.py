"""Continuous batching as pure decisions: who is admitted, what the next decode holds, who must give way.

The caller owns the model. It asks for a step, carries out the edits, decodes the spans, reports success with
`commit`, appends what it sampled with `extend`, and ends sequences with `release`. Nothing here does I/O, reads a
clock or knows llama.cpp; tests drive it against a model in pure Python.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from local_engine.scheduling.cells import Cells, Slot
from local_engine.scheduling.fair_queue import FairQueue
from local_engine.scheduling.prefix import common_prefix
from local_engine.scheduling.spans import next_span, prompt_span, split_budget
from local_engine.scheduling.step import Copy, Discard, Edit, Limits, Sequence, Span, Step, SwapIn, SwapOut, Trim
from local_engine.scheduling.swapped import Swapped, SwapSpace

WORTH_COPYING = 16
"""A shorter common prefix is decoded again rather than shared or swapped in: one chunk costs no more."""

HEADROOM = 16
"""Cells kept free for each running sequence at admission, so that a newcomer does not force a pre-emption at once."""


class Scheduler:
    """The one owner of slots, waiting line and cache books. Not thread-safe: the engine thread alone calls it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.cells = Cells(limits.slots, limits.cells)
        self.swapped = SwapSpace(limits.swap)
        self.queue = FairQueue(limits.queue)
        self.running: dict[int, Sequence] = {}
        self.preemptions = 0
        self._looked = False
        self._edits: list[Edit] = []
        self._clock = count(1)

    @property
    def idle(self) -> bool:
        return not self.running and not len(self.queue)

    def submit(self, sequence: Sequence) -> bool:
        """False when the waiting line is full."""
        if self.queue.full:
            return False
        self.queue.push(sequence)
        return True

    def plan(self) -> Step:
        """The next step. Without spans there is nothing to do, or nothing fits until `relieve` makes room."""
        self._admit()
        self._swap_out_one()
        self._looked = look = self._is_time_to_look()
        choose = self._look if look else self._spans
        spans = choose()
        while self.running and sum(len(span.tokens) for span in spans) > self.cells.free and self._make_room():
            spans = choose()
        return Step(self._take_edits(), tuple(sorted(spans, key=lambda span: span.slot)), look)

    def tidy(self) -> tuple[Edit, ...]:
        """Work for an idle moment: one prefix is swapped out. Empty when all is tidy."""
        self._swap_out_one()
        return self._take_edits()

    def _take_edits(self) -> tuple[Edit, ...]:
        edits, self._edits = self._edits, []
        return tuple(edits)

    def commit(self, step: Step) -> list[Sequence]:
        """Book a decode that succeeded. Returns the sequences to sample for, in the order of their spans."""
        now = next(self._clock)
        ready = []
        for span in step.spans:
            self.cells.append(span.slot, span.tokens)
            self.cells.slots[span.slot].used = now
            sequence = self.running[span.slot]
            sequence.cached += len(span.tokens)
            if span.sample:
                ready.append(sequence)
        return ready

    def relieve(self) -> bool:
        """The context found no cells for a step: make room. False when there is nothing left to give up."""
        return self._make_room()

    def extend(self, sequence: Sequence, token: int) -> None:
        sequence.tokens.append(token)

    def settle(self, sequence: Sequence) -> None:
        """After a step's samples: forget the cells of guesses that were wrong, and of those that were right but one.

        The newest token has no cell yet, whether it was guessed or not.
        """
        known = len(sequence.tokens) - 1
        if sequence.slot >= 0 and sequence.cached > known:
            sequence.cached = known
            self._trim(self.cells.slots[sequence.slot], known)

    @property
    def only(self) -> Sequence | None:
        """The sequence that generates while nobody else reads, generates or waits."""
        if len(self.running) != 1 or len(self.queue):
            return None
        [sequence] = self.running.values()
        return sequence if sequence.missing == 1 else None

    def release(self, sequence: Sequence) -> None:
        """End or cancel a sequence. Its cells stay as a cached prefix until somebody needs them."""
        if sequence.slot < 0:
            self.queue.remove(sequence)
            return
        self.cells.slots[sequence.slot].owner = None
        del self.running[sequence.slot]
        sequence.slot = -1

    def adopt(self, scope: str, tokens: tuple[int, ...]) -> int | None:
        """Book a prefix whose cells are about to be put into an empty slot; None when there is no room for it."""
        empty = [slot for slot in self.cells.idle() if not slot.tokens]
        if not empty or len(tokens) > self.cells.free:
            return None
        slot = empty[0]
        slot.scope = scope
        slot.used = -sum(
            1 for other in self.cells.slots if other.tokens
        )  # in the order of their coming, before all new
        self.cells.append(slot.index, tokens)
        return slot.index

    def disown(self, index: int) -> None:
        """The cells did not come after all."""
        self._empty(self.cells.slots[index])

    # ── admission ──

    def _admit(self) -> None:
        while (sequence := self.queue.head()) is not None and len(self.running) < self.limits.slots:
            donor, shared = self.cells.best_donor(sequence.scope, sequence.tokens)
            copy, longer = self._better_copy(sequence, shared)
            if self._should_wait(sequence, donor, shared, longer):
                return
            self.queue.pop()
            if copy:
                self._claim(sequence, self._swap_in(copy, longer), longer)
            else:
                self._place(sequence, donor, shared)

    def _better_copy(self, sequence: Sequence, shared: int) -> tuple[Swapped | None, int]:
        """A copy that spares enough more than the cache does, if there is room for the whole of it."""
        copy, longer = self.swapped.best(sequence.scope, sequence.tokens)
        if copy is None or longer - shared < WORTH_COPYING:
            return None, shared
        needed = max(len(copy.tokens), len(sequence.tokens)) + self._expected()
        return (copy, longer) if needed <= self.cells.reclaimable() else (None, shared)

    def _expected(self) -> int:
        """Cells that those who run will ask for soon, and a newcomer's headroom."""
        missing = sum(running.missing for running in self.running.values())
        return missing + HEADROOM * (len(self.running) + 1)

    def _should_wait(self, sequence: Sequence, donor: Slot | None, shared: int, longer: int) -> bool:
        """For room, or for a running sequence that is about to put a longer common prefix into the cache. The prefix
        is `longer` than what the cache shares when a copy of it is swapped in, for which there is room.
        """
        if not self.running:
            return False
        keep = donor if donor and donor.owner is None else None
        if longer == shared and len(sequence.tokens) - shared + self._expected() > self.cells.reclaimable(keep):
            return True
        return any(self._leads(running, sequence, longer) for running in self.running.values())

    def _leads(self, running: Sequence, sequence: Sequence, shared: int) -> bool:
        if running.scope != sequence.scope or running.missing <= 1:
            return False
        coming = common_prefix(running.tokens, sequence.tokens[:-1])
        return coming - shared > self.limits.chunk and running.cached < coming

    def _place(self, sequence: Sequence, donor: Slot | None, shared: int) -> None:
        idle = self.cells.idle()
        if donor and donor.owner is None and (2 * shared >= len(donor.tokens) or idle == [donor]):
            slot, kept = donor, shared
            if 2 * shared < len(donor.tokens):
                self._keep(donor)
            self._trim(slot, kept)
        else:
            slot = next(candidate for candidate in idle if candidate is not donor)
            self._vacate(slot)
            kept = self._share(donor, slot, shared)
        self._claim(sequence, slot, kept)

    def _claim(self, sequence: Sequence, slot: Slot, kept: int) -> None:
        slot.owner, slot.scope = sequence.key, sequence.scope
        sequence.slot, sequence.cached = slot.index, kept
        sequence.reused = min(kept, sequence.prompt) if len(sequence.tokens) == sequence.prompt else sequence.reused
        self.running[slot.index] = sequence

    def _share(self, donor: Slot | None, slot: Slot, shared: int) -> int:
        if donor is None or shared < WORTH_COPYING:
            return 0
        self.cells.copy(donor.index, slot.index, shared)
        self._edits.append(Copy(donor.index, slot.index, shared))
        return shared

    # ── swapping ──

    def _swap_in(self, copy: Swapped, length: int) -> Slot:
        """A slot with the first `length` tokens of a copy; the copy is kept where most of it is another's."""
        self.swapped.take(copy.number)
        slot = self.cells.idle()[0]
        self._vacate(slot)
        while self.cells.free < len(copy.tokens):
            self._make_room()
        self._edits.append(SwapIn(slot.index, copy.number))
        self.cells.append(slot.index, copy.tokens)
        self._trim(slot, length)
        kept = 2 * length < len(copy.tokens)
        self.swapped.done(replace(copy, used=next(self._clock)) if kept else None)
        if not kept:
            self._edits.append(Discard(copy.number))
        return slot

    def _swap_out_one(self) -> None:
        """The least recently used idle prefix, so that no step is held up by many. The last used one, the likeliest to
        be asked for again, stays until others do nothing but generate: then every token of theirs would pay for it.
        """
        cached = self.cells.cached()
        if cached and (not self.running or any(running.missing > 1 for running in self.running.values())):
            del cached[-1]
        worth = [slot for slot in cached if self.swapped.takes(slot.tokens)]
        if worth:
            self._vacate(worth[0])

    def _vacate(self, slot: Slot) -> None:
        self._keep(slot)
        self._empty(slot)

    def _keep(self, slot: Slot) -> None:
        """Copy an idle slot's prefix out of the cache, if there is a place for it: its cells are wanted."""
        if self.swapped.takes(slot.tokens):
            number, gone = self.swapped.put(slot.scope, tuple(slot.tokens), slot.used)
            self._edits += [*map(Discard, gone), SwapOut(slot.index, number)]

    # ── the batch ──

    def _spans(self) -> list[Span]:
        """One token for everyone who generates, then chunks of prompts: the oldest is sure of a share, then the
        shortest remainder goes first, which gives the least mean time to the first token. A prompt that nobody is
        held up by is read in whole batches; otherwise chunks are small, so that prompts that came together are done
        one after the other instead of all at the end (a token of a chunk costs no more than one of a whole batch).
        """
        decoding = [s for s in self.running.values() if s.missing == 1]
        reading = sorted((s for s in self.running.values() if s.missing > 1 and not s.looking), key=lambda s: s.key)
        spans = [next_span(sequence, self.cells.free) for sequence in decoding]
        budget = self.limits.batch - len(spans)
        if len(self.running) > 1 or len(self.queue):
            budget = min(budget, self.limits.chunk)
        return spans + [prompt_span(sequence, size) for sequence, size in split_budget(reading, budget) if size]

    def _is_time_to_look(self) -> bool:
        """A picture and text cannot share a decode: where some want the one and some the other, they take turns."""
        looking = sum(sequence.looking for sequence in self.running.values())
        return looking > 0 and (not self._looked or looking == len(self.running))

    def _look(self) -> list[Span]:
        """A chunk of a picture, or a piece of it as a whole, of the oldest that has one to read."""
        looking = [sequence for sequence in self.running.values() if sequence.looking]
        if not looking:
            return []
        oldest = min(looking, key=lambda sequence: sequence.key)
        alone = len(self.running) == 1 and not len(self.queue)
        most = self.limits.batch if alone or self.limits.whole else self.limits.chunk
        return [prompt_span(oldest, min(oldest.readable, most))]

    # ── making room ──

    def _make_room(self) -> bool:
        """Give up the least recently used cached prefix, else the youngest running sequence (never the last)."""
        if cached := self.cells.cached():
            self._vacate(cached[0])
            return True
        if len(self.running) < 2:
            return False
        youngest = max(self.running.values(), key=lambda running: running.key)
        slot = self.cells.slots[youngest.slot]
        self.release(youngest)
        youngest.cached = 0
        self._empty(slot)
        self.queue.put_back(youngest)
        self.preemptions += 1
        return True

    def _trim(self, slot: Slot, length: int) -> None:
        if len(slot.tokens) > length:
            self.cells.trim(slot.index, length)
            self._edits.append(Trim(slot.index, length))

    def _empty(self, slot: Slot) -> None:
        self._trim(slot, 0)
