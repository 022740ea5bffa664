"""Continuous batching as pure decisions: who is admitted, what the next decode holds, who must give way.

The caller owns the model. It asks for a step, carries out the edits, decodes the spans, reports success with
`commit`, appends what it sampled with `extend`, and ends sequences with `release`. Nothing here does I/O, reads a
clock or knows llama.cpp; tests drive it against a model in pure Python.
"""

from __future__ import annotations

from itertools import count

from local_engine.scheduling.cells import Cells, Slot
from local_engine.scheduling.fair_queue import FairQueue
from local_engine.scheduling.prefix import common_prefix
from local_engine.scheduling.step import Copy, Edit, Limits, Sequence, Span, Step, Trim

WORTH_COPYING = 16
"""A shorter common prefix is decoded again rather than shared: one chunk costs no more."""

HEADROOM = 16
"""Cells kept free for each running sequence at admission, so that a newcomer does not force a pre-emption at once."""


class Scheduler:
    """The one owner of slots, waiting line and cache books. Not thread-safe: the engine thread alone calls it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.cells = Cells(limits.slots, limits.cells)
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
        self._looked = look = self._is_time_to_look()
        choose = self._look if look else self._spans
        spans = choose()
        while self.running and sum(len(span.tokens) for span in spans) > self.cells.free and self._make_room():
            spans = choose()
        edits, self._edits = tuple(self._edits), []
        return Step(edits, tuple(sorted(spans, key=lambda span: span.slot)), look)

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

    def forget(self) -> None:
        """Drop every idle slot's cached prefix, at the next step."""
        for slot in self.cells.idle():
            self._empty(slot)

    # ── admission ──

    def _admit(self) -> None:
        while (sequence := self.queue.head()) is not None and len(self.running) < self.limits.slots:
            donor, shared = self.cells.best_donor(sequence.scope, sequence.tokens)
            if self._should_wait(sequence, donor, shared):
                return
            self.queue.pop()
            self._place(sequence, donor, shared)

    def _should_wait(self, sequence: Sequence, donor: Slot | None, shared: int) -> bool:
        """For room, or for a running sequence that is about to put a longer common prefix into the cache."""
        if not self.running:
            return False
        keep = donor if donor and donor.owner is None else None
        needed = len(sequence.tokens) - shared + HEADROOM * (len(self.running) + 1)
        needed += sum(running.missing for running in self.running.values())
        if needed > self.cells.reclaimable(keep):
            return True
        return any(self._leads(running, sequence, shared) for running in self.running.values())

    def _leads(self, running: Sequence, sequence: Sequence, shared: int) -> bool:
        if running.scope != sequence.scope or running.missing <= 1:
            return False
        coming = common_prefix(running.tokens, sequence.tokens[:-1])
        return coming - shared > self.limits.chunk and running.cached < coming

    def _place(self, sequence: Sequence, donor: Slot | None, shared: int) -> None:
        idle = self.cells.idle()
        if donor and donor.owner is None and (2 * shared >= len(donor.tokens) or idle == [donor]):
            slot, kept = donor, shared
            self._trim(slot, kept)
        else:
            slot = next(candidate for candidate in idle if candidate is not donor)
            self._empty(slot)
            kept = self._share(donor, slot, shared)
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

    # ── the batch ──

    def _spans(self) -> list[Span]:
        """One token for everyone who generates, then chunks of prompts: the oldest is sure of a share, then the
        shortest remainder goes first, which gives the least mean time to the first token. A prompt that nobody is
        held up by is read in whole batches; otherwise chunks are small, so that prompts that came together are done
        one after the other instead of all at the end (a token of a chunk costs no more than one of a whole batch).
        """
        decoding = [s for s in self.running.values() if s.missing == 1]
        reading = sorted((s for s in self.running.values() if s.missing > 1 and not s.looking), key=lambda s: s.key)
        spans = [self._next(sequence) for sequence in decoding]
        budget = self.limits.batch - len(spans)
        if len(self.running) > 1 or len(self.queue):
            budget = min(budget, self.limits.chunk)
        return spans + [self._span(sequence, size) for sequence, size in _shares(reading, budget) if size]

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
        return [self._span(oldest, min(oldest.readable, most))]

    def _next(self, sequence: Sequence) -> Span:
        """The token to go on from, with the guesses there is room for: nothing is given up for a guess."""
        guesses, sequence.guesses = sequence.guesses[: max(0, self.cells.free - 1)], ()
        tokens = (sequence.tokens[-1], *guesses)
        return Span(sequence.slot, sequence.cached, tokens, sample=True, guesses=len(guesses))

    def _span(self, sequence: Sequence, size: int) -> Span:
        start = sequence.cached
        tokens = tuple(sequence.tokens[start : start + size])
        return Span(sequence.slot, start, tokens, sample=start + size == len(sequence.tokens))

    # ── making room ──

    def _make_room(self) -> bool:
        """Give up the least recently used cached prefix, else the youngest running sequence (never the last)."""
        for slot in self.cells.idle():
            if slot.tokens:
                self._empty(slot)
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


def _shares(reading: list[Sequence], budget: int) -> list[tuple[Sequence, int]]:
    """Split a token budget over the prompts being read; `reading` is sorted by age."""
    if not reading or budget <= 0:
        return []
    share = {reading[0].key: min(reading[0].readable, max(1, budget // 4))}
    left = budget - share[reading[0].key]
    for sequence in sorted(reading, key=lambda s: (s.missing, s.key)):
        already = share.get(sequence.key, 0)
        more = min(sequence.readable - already, left)
        share[sequence.key] = already + more
        left -= more
    return [(sequence, share[sequence.key]) for sequence in reading]
