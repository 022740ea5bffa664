"""The steps of the engine thread: take in, decode, sample, tell."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING

from local_engine.jobs import (
    Cancel,
    Delivery,
    EmbeddingTicket,
    Event,
    Failed,
    Message,
    Occupancy,
    Stop,
    Ticket,
)
from local_engine.native.sampler import DeadEnd, GrammarError
from local_engine.pictures.bounds import BadPicture
from local_engine.scheduling.governor import ThreadGovernor
from local_engine.scheduling.lookup import Prices, worth_guessing
from local_engine.scheduling.scheduler import Scheduler
from local_engine.scheduling.step import Edit, Sequence, Span, Step
from local_engine.worker.contention import WINDOW, Contention
from local_engine.worker.generation import Generation
from local_engine.worker.looking import Looker
from local_engine.worker.machine import Machine

if TYPE_CHECKING:
    from local_engine.worker.keeping import Keeper

log = logging.getLogger("local_engine")

FIRST_WINDOW = 0.04
"""Seconds of decoding before the first request, for each number of threads that is tried."""
MOST_TRIALS = 12

QUEUE_FULL = Failed("queue_full", "The engine's waiting line is full. Try again later.")
DEAD_END = Failed("grammar_dead_end", "The model has no token that continues the answer within the response format.")


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """`guesses`: a sequence alone is sped up by looking up what it may repeat. `keeper` saves prefixes at the end."""

    guesses: bool = False
    keeper: Keeper | None = None


class StepLoop:
    """The running jobs and the scheduler that orders them."""

    def __init__(self, machine: Machine, post: Callable[[list[Delivery]], None], options: LoopOptions) -> None:
        forgets = machine.model.forgets
        self.scheduler = Scheduler(machine.limits if forgets else replace(machine.limits, swap=0))
        self._machine = machine
        self._guesses = options.guesses and forgets
        self._prices = Prices()
        self._keeper = options.keeper
        self._looker = Looker(machine)
        self._ended = False
        self._post = post
        self._generations: dict[int, Generation] = {}
        self._embeddings: dict[EmbeddingTicket, Generator[None, None, list[list[float]]]] = {}
        self._news: list[Delivery] = []
        self._governor = ThreadGovernor(machine.threads)
        self._contention = Contention()
        self._begun = False

    def occupancy(self) -> Occupancy:
        """Read from other threads: three whole numbers, each of its own moment."""
        return Occupancy(len(self.scheduler.running), len(self.scheduler.queue), self._governor.threads)

    @property
    def idle(self) -> bool:
        return self.scheduler.idle and not self._embeddings

    def take_in(self, inbox: queue.SimpleQueue[Message]) -> bool:
        """Handle all waiting messages; sleep only when there is nothing to compute. False at the end."""
        if not self._begun:
            self._begin()
        wait = self.idle
        while wait or not inbox.empty():
            if inbox.empty() and self._tidy():
                continue
            message = inbox.get()
            wait = False
            if isinstance(message, Stop):
                self._ended = True
                return False
            self._handle(message)
            wait = self.idle and not self._news
        return True

    def _begin(self) -> None:
        """What the first request may have to wait for, and a start need not."""
        self._begun = True
        self._try_threads()
        if self._keeper:
            self._keeper.restore(self.scheduler, self._machine.context)

    def _tidy(self) -> bool:
        """Use an idle moment. False when there is nothing to do."""
        edits = self.scheduler.tidy()
        self._edit(edits)
        return bool(edits) or self._machine.model.pages.gather_one()

    def _edit(self, edits: tuple[Edit, ...]) -> None:
        for edit in edits:
            self._machine.context.edit(edit)

    def advance(self) -> None:
        """One step of generation, one chunk of each embedding, then tell the server."""
        self._guess()
        step = self.scheduler.plan()
        self._edit(step.edits)
        if step.spans and (not step.look or self._see(step.spans[0])):
            self._decode(step)
        self._advance_embeddings()
        self._share_cores()
        if self._news:
            news, self._news = self._news, []
            self._post(news)

    def close(self) -> None:
        if self._keeper and self._ended:  # after a failure nobody knows what the cells hold
            self._keeper.save(self.scheduler, self._machine.context)
        self._machine.close()

    def fail_all(self, why: Failed) -> None:
        for generation in self._generations.values():
            self._news.append((generation.ticket.deliver, why))
            generation.close()
        self._news += [(ticket.deliver, why) for ticket in self._embeddings]
        self._generations.clear()
        self._post(self._news)

    # ── messages ──

    def _handle(self, message: Ticket | EmbeddingTicket | Cancel) -> None:
        if isinstance(message, Ticket):
            self._admit(message)
        elif isinstance(message, EmbeddingTicket):
            self._embeddings[message] = self._embed(message)
        elif isinstance(message.ticket, EmbeddingTicket):
            self._embeddings.pop(message.ticket, None)
        elif message.ticket.number in self._generations:
            self._end(self._generations[message.ticket.number])

    def _admit(self, ticket: Ticket) -> None:
        if self.scheduler.queue.full:
            self._news.append((ticket.deliver, QUEUE_FULL))
            return
        pictures = tuple((run.start, run.end) for run in ticket.job.runs)
        sequence = Sequence(ticket.number, ticket.job.scope, list(ticket.job.prompt), pictures=pictures)
        try:
            generation = Generation(ticket, sequence, self._machine.model)
        except GrammarError as error:
            self._news.append((ticket.deliver, Failed("invalid_grammar", str(error))))
            return
        self._generations[ticket.number] = generation
        self.scheduler.submit(sequence)

    # ── steps ──

    def _guess(self) -> None:
        """What a sequence alone is likely to say next. Streams side by side fill a decode without guesses."""
        sequence = self.scheduler.only
        if sequence is None or not self._guesses:
            return
        generation = self._generations[sequence.key]
        most = generation.left - 1
        guesses = worth_guessing(generation.lookup, self._prices, sequence.tokens, most)
        sequence.guesses = tuple(takewhile(lambda token: token >= 0, guesses))  # nobody says a picture

    def _decode(self, step: Step) -> None:
        context = self._machine.context
        rows = [] if step.look else self._fill(step)
        began = time.monotonic()
        with self._contention.decoding():
            decoded = context.decode_together() if step.look and self._machine.limits.whole else context.decode()
        if self.scheduler.only is not None:
            self._prices.observe(context.batch.count, time.monotonic() - began)
        if not decoded:
            if not self.scheduler.relieve():
                raise RuntimeError("the cache has no room for a single sequence")
            return
        for sequence, (row, guesses) in zip(self.scheduler.commit(step), rows, strict=True):
            self._sample_all(self._generations[sequence.key], row, guesses)

    def _fill(self, step: Step) -> list[tuple[int, tuple[int, ...]]]:
        """Put the spans into the batch; the first row to sample from of each that is to be, and its guesses."""
        batch = self._machine.context.batch
        batch.clear()
        rows = []
        for span in step.spans:
            row = batch.add(span.slot, span.start, span.tokens, output=span.sample, before=span.guesses)
            if span.sample:
                rows.append((row - span.guesses, span.tokens[len(span.tokens) - span.guesses :]))
        return rows

    def _see(self, span: Span) -> bool:
        """Put a picture's span, which is never sampled for, into the batch. False when it cannot be seen."""
        generation = self._generations[self.scheduler.running[span.slot].key]
        try:
            rows = self._looker.rows(generation.ticket.number, generation.ticket.job.runs, span)
        except BadPicture as error:
            failed = Failed("invalid_picture", f"A picture of this prompt cannot be read: {error}.")
            self._news.append((generation.ticket.deliver, failed))
            self._end(generation)
            return False
        self._machine.context.batch.clear()
        self._machine.context.batch.look(span.slot, span.start, rows)
        return True

    def _sample_all(self, generation: Generation, row: int, guesses: tuple[int, ...]) -> None:
        """The next token, and for each guess that it bears out the one after it."""
        right = 0
        while self._sample(generation, row + right):
            if right == len(guesses) or generation.sequence.tokens[-1] != guesses[right]:
                generation.lookup.judge(len(guesses), right)
                self.scheduler.settle(generation.sequence)
                return
            right += 1

    def _sample(self, generation: Generation, row: int) -> bool:
        """False when that was the end."""
        deliver = generation.ticket.deliver
        events: list[Event]
        try:
            token, events = generation.sample(self._machine.context, row)
        except DeadEnd:
            token, events = None, [DEAD_END]
        self._news += [(deliver, event) for event in events]
        if token is None:
            self._end(generation)
            return False
        self.scheduler.extend(generation.sequence, token)
        return True

    def _end(self, generation: Generation) -> None:
        self.scheduler.release(generation.sequence)
        self._looker.forget(generation.ticket.number)
        generation.close()
        del self._generations[generation.ticket.number]

    def _try_threads(self) -> None:
        """Before the first request: on a machine with other work, its prompt would be read by threads that wait for one
        another. Some decodes of one token tell, in the time of a blink where the cores are free.
        """
        for _ in range(MOST_TRIALS):
            before = self._governor.threads
            with self._contention.decoding():
                self._machine.warm_up()
            if self._share_cores(FIRST_WINDOW) and self._governor.threads == before:
                return

    def _share_cores(self, window: float = WINDOW) -> bool:
        """Fewer threads while other programs want the cores. True when that was judged."""
        before = self._governor.threads
        missing = self._contention.verdict(before, window)
        if missing is None:
            return False
        threads = self._governor.observe(time.monotonic(), missing)
        if threads != before:
            self._machine.use_threads(threads)
            log.debug("%d threads, after %.2f cores were missing", threads, missing)
        return True

    # ── embeddings ──

    def _embed(self, ticket: EmbeddingTicket) -> Generator[None, None, list[list[float]]]:
        vectors: list[list[float]] = []
        for tokens in ticket.inputs:
            vector = yield from self._machine.embed(tokens)
            vectors.append(vector)
        return vectors

    def _advance_embeddings(self) -> None:
        """One ticket at a time, since they share a context; the others wait their turn."""
        if not self._embeddings:
            return
        ticket, work = next(iter(self._embeddings.items()))
        try:
            next(work)
        except StopIteration as done:
            self._news.append((ticket.deliver, done.value))
            del self._embeddings[ticket]
