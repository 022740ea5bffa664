"""One job while it runs: its sampler, its text, and when it is finished."""

from __future__ import annotations

import numpy as np

from local_engine.jobs import Chosen, Event, Finished, FinishReason, Piece, Ticket, TokenScore, Usage
from local_engine.native.context import Context
from local_engine.native.model import Model
from local_engine.native.sampler import Sampler
from local_engine.scheduling.lookup import Lookup
from local_engine.scheduling.step import Sequence
from local_engine.text.assembler import Assembler


class Generation:
    """Owned by the engine thread. `close` exactly once."""

    def __init__(self, ticket: Ticket, sequence: Sequence, model: Model) -> None:
        """Raises GrammarError when the job's grammar cannot be compiled."""
        self.ticket = ticket
        self.sequence = sequence
        self._model = model
        # What stands for a picture is no token: nothing can be penalised for it.
        words = [token for token in ticket.job.prompt if token >= 0] if ticket.job.runs else ticket.job.prompt
        self._sampler = Sampler(model, ticket.job.sampling, words)
        self._text = Assembler(ticket.job.stops)
        self._scores: list[Chosen] = []
        self._produced = 0
        self.lookup = Lookup()

    @property
    def left(self) -> int:
        """Tokens that this answer may still have."""
        return self.ticket.job.max_tokens - self._produced

    def close(self) -> None:
        self._sampler.close()

    def sample(self, context: Context, row: int) -> tuple[int | None, list[Event]]:
        """Choose the next token from a batch row. Returns it, or None when the generation is finished, and what
        the client may now be told. Raises DeadEnd when a grammar allows nothing.
        """
        token = self._sampler.pick(context, row)
        if self._model.ends(token):
            return None, self._end("stop", self._text.flush())
        self._produced += 1
        if self.ticket.job.logprobs is not None:
            self._scores.append(self._score(context, row, token, self.ticket.job.logprobs))
        text = self._text.feed(self._model.piece(token))
        if self._text.stopped:
            return None, self._end("stop", text)
        if self._produced >= self.ticket.job.max_tokens:
            return None, self._end("length", text + self._text.flush())
        return token, self._say(text)

    def _say(self, text: str) -> list[Event]:
        if not text:
            return []
        scores, self._scores = tuple(self._scores), []
        return [Piece(text, scores)]

    def _end(self, reason: FinishReason, text: str) -> list[Event]:
        usage = Usage(self.sequence.prompt, self._produced, self.sequence.reused)
        return [*self._say(text), Finished(reason, usage)]

    def _score(self, context: Context, row: int, token: int, rivals: int) -> Chosen:
        logits = context.logits(row).astype(np.float64)
        logits -= logits.max()
        logprobs = logits - np.log(np.exp(logits).sum())
        best = np.argpartition(-logprobs, rivals)[:rivals] if rivals else np.array([], np.int64)
        ranked = sorted((int(rival) for rival in best), key=lambda rival: -logprobs[rival])

        def scored(one: int) -> TokenScore:
            return TokenScore(one, self._model.piece(one), float(logprobs[one]))

        return Chosen(scored(token), tuple(scored(rival) for rival in ranked))
