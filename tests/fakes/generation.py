"""One answer in the making: words at a pace, stopped at once when the client leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from tests.fakes import answers
from tests.fakes.wire import ClientLeft, Request, Seen, Wire, chunk, head


@dataclass(slots=True)
class Behaviour:
    """What the fake does, switchable while it runs. Seconds."""

    fault: str = ""
    seconds: float = 0.0  # how long the fault lasts; 0: until told otherwise
    times: int = 0  # to how many generating requests it happens; 0: to all
    tokens: int = 5
    delay_s: float = 0.0
    first_delay_s: float = 0.0
    text: str = "word"  # "{prompt}" in it: what the last message says


class Generation:
    """The answer to one request."""

    def __init__(self, wire: Wire, request: Request, behaviour: Behaviour, seen: Seen) -> None:
        self.wire = wire
        self.streaming = request.document.get("stream") is True
        self.content_type = "text/event-stream; charset=utf-8" if self.streaming else "application/json"
        self._path = request.path
        self._document = request.document
        self._model = str(self._document.get("model", ""))
        self._behaviour = behaviour
        self._text = behaviour.text
        if "{prompt}" in self._text:
            self._text = self._text.replace("{prompt}", str(self._document["messages"][-1]["content"]))
        self._seen = seen

    async def run(self) -> None:
        """The good answer."""
        behaviour = self._behaviour
        if self.streaming:
            await self.while_watching(asyncio.sleep(behaviour.first_delay_s))
            await self.wire.send(self.head())
            await self.while_watching(self.generate(behaviour.tokens))
            await self.wire.send(chunk(self._end()) + chunk(b""))
        else:
            await self.while_watching(self._silently())
            await self.wire.send(self.everything())

    async def while_watching(self, work: Coroutine[None, None, None]) -> None:
        """Do it; ClientLeft, with the work stopped, as soon as the client closes."""
        task = asyncio.ensure_future(work)
        watch = asyncio.ensure_future(self.wire.client_leaves())
        try:
            done, _ = await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
            if watch in done and task not in done:
                raise ClientLeft
            await task
        finally:
            for each in (task, watch):
                each.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)

    async def generate(self, tokens: int) -> None:
        for number in range(tokens):
            await self.wire.send(chunk(self._piece(number)))
            self._seen.generated += 1
            self._seen.times.append(time.time())
            await asyncio.sleep(self._behaviour.delay_s)

    async def _silently(self) -> None:
        await asyncio.sleep(self._behaviour.first_delay_s)
        for _ in range(self._behaviour.tokens):
            self._seen.generated += 1
            await asyncio.sleep(self._behaviour.delay_s)

    # --- its bytes ---

    def head(self) -> bytes:
        if self.streaming:
            return head(200, ("Content-Type", self.content_type), ("Transfer-Encoding", "chunked"))
        return head(200, ("Content-Type", self.content_type), ("Content-Length", str(len(self.body()))))

    def body(self) -> bytes:
        if self.streaming:
            return b"".join(self._piece(number) for number in range(self._behaviour.tokens)) + self._end()
        if self._path.endswith("embeddings"):
            asked = self._document.get("input")
            return answers.embeddings(self._model, len(asked) if isinstance(asked, list) else 1)
        if self._path.endswith("rerank"):
            count = len(self._document["documents"])
            return answers.ranks(self._model, count, self._document.get("top_n", count))
        return answers.answer(self._path, self._model, self.text())

    def text(self) -> str:
        return "".join(self._word(number) for number in range(self._behaviour.tokens))

    def everything(self, change: Callable[[bytes], bytes] = bytes) -> bytes:
        """Head and body in one piece, the body changed if wished."""
        body = change(self.body())
        if self.streaming:
            return self.head() + chunk(body) + chunk(b"")
        return head(200, ("Content-Type", "application/json"), ("Content-Length", str(len(body)))) + body

    async def some(self, events: int, *, half: bool) -> None:
        """The head and the first events (or part of a whole answer); `half`: and then half of the next one."""
        await self.wire.send(self.head())
        if not self.streaming:
            await self.wire.send(self.body()[:20])
            return
        for number in range(events):
            await self.wire.send(chunk(self._piece(number)))
            await asyncio.sleep(0.02)
        if half:
            await self.wire.send(chunk(self._piece(events)[:20]))

    async def all_but_the_end(self) -> None:
        await self.wire.send(self.head())
        if self.streaming:
            await self.wire.send(chunk(self.body().removesuffix(answers.DONE)))
        else:
            await self.wire.send(self.body()[:-1])

    def _word(self, number: int) -> str:
        return f"{self._text}{number} "

    def _piece(self, number: int) -> bytes:
        return answers.piece(self._path, self._model, self._word(number))

    def _end(self) -> bytes:
        return answers.piece(self._path, self._model, "", "stop") + answers.DONE
