"""The steps of an engine thread whose model ranks: one text each, tickets in their order."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from local_engine.jobs import Cancel, Delivery, EmbeddingTicket, Failed, Message, Occupancy, Stop, Ticket

NO_TEXT = Failed("engine_error", "This model ranks texts and writes none.")


class Scorer(Protocol):
    """See local_engine.native.ranker.Ranker."""

    def score(self, tokens: Sequence[int]) -> float: ...
    def close(self) -> None: ...


class RankLoop:
    """The waiting tickets. A score is a vector of length one."""

    def __init__(self, ranker: Scorer, threads: int, post: Callable[[list[Delivery]], None]) -> None:
        self._ranker = ranker
        self._threads = threads
        self._post = post
        self._waiting: dict[EmbeddingTicket, Iterator[tuple[int, ...]]] = {}
        self._scores: list[list[float]] = []

    def occupancy(self) -> Occupancy:
        waiting = len(self._waiting)
        return Occupancy(min(1, waiting), max(0, waiting - 1), self._threads)

    def take_in(self, inbox: queue.SimpleQueue[Message]) -> bool:
        """Handle all waiting messages; sleep only when there is nothing to score. False at the end."""
        while not self._waiting or not inbox.empty():
            message = inbox.get()
            if isinstance(message, Stop):
                return False
            self._handle(message)
        return True

    def _handle(self, message: Ticket | EmbeddingTicket | Cancel) -> None:
        if isinstance(message, Ticket):
            self._post([(message.deliver, NO_TEXT)])
        elif isinstance(message, EmbeddingTicket):
            self._waiting[message] = iter(message.inputs)
        elif isinstance(message.ticket, EmbeddingTicket):
            self._drop(message.ticket)

    def advance(self) -> None:
        ticket, texts = next(iter(self._waiting.items()))
        text = next(texts, None)
        if text is not None:
            self._scores.append([self._ranker.score(text)])
            return
        self._post([(ticket.deliver, self._scores)])
        self._drop(ticket)

    def _drop(self, ticket: EmbeddingTicket) -> None:
        if next(iter(self._waiting), None) is ticket:
            self._scores = []
        self._waiting.pop(ticket, None)

    def fail_all(self, why: Failed) -> None:
        self._post([(ticket.deliver, why) for ticket in self._waiting])
        self._waiting.clear()

    def close(self) -> None:
        self._ranker.close()
