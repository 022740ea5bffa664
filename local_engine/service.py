"""The engine as the server sees it: loading, ready, idle or failed; jobs in, events out. Lives on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from local_engine.jobs import Cancel, Delivery, EmbeddingTicket, Event, Failed, Finished, Job, Loaded, Stop, Ticket
from local_engine.text.template import Part, prompt_tokens
from local_engine.worker.thread import Boot, EngineThread

log = logging.getLogger("local_engine")

P = ParamSpec("P")
T = TypeVar("T")

LAST_S = 15
"""For the engine thread to end: it may have prefixes to save."""

LEFT = Failed("client_left", "The client left before the answer was complete.")


class EngineFailed(Exception):
    """The engine cannot serve; the sentence says why."""


class Answers:
    """The events of a request's jobs, in the order they happen, each with the index of its job.

    Over when every job has finished or one has failed; `cancel` frees the cells of the others within one step.
    """

    def __init__(self, engine: EngineThread, tickets: Iterable[tuple[int, Job]]) -> None:
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._engine = engine
        self._open: dict[int, Ticket] = {}
        for index, (number, job) in enumerate(tickets):
            self._open[index] = Ticket(number, job, functools.partial(self._put, index))
        for ticket in self._open.values():
            engine.inbox.put(ticket)

    @property
    def over(self) -> bool:
        return not self._open and self._events.empty()

    async def next(self) -> list[tuple[int, Event]]:
        """Waits for at least one event; returns all that are there."""
        events = [await self._events.get()]
        while not self._events.empty():
            events.append(self._events.get_nowait())
        return events

    def cancel(self) -> None:
        for ticket in self._open.values():
            self._engine.inbox.put(Cancel(ticket))
        self._open.clear()

    def abandon(self) -> None:
        """The client has left: stop, and wake whoever waits."""
        self.cancel()
        self._events.put_nowait((0, LEFT))

    def _put(self, index: int, event: Event) -> None:
        if isinstance(event, Finished | Failed):
            self._open.pop(index, None)
        self._events.put_nowait((index, event))
        if isinstance(event, Failed):
            self.cancel()


class Service:
    """Owns the engine thread. `start` on the running loop, `stop` once.

    With `idle_unload`, a model that nobody asked for that many seconds is unloaded; the next request loads it again,
    and all that come meanwhile wait for that one load.
    """

    def __init__(self, boot: Boot, idle_unload: float = 0) -> None:
        self._boot = boot
        self._idle_unload = idle_unload
        self._leases = 0
        self._used = 0.0
        self._turn = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None
        self.idle = False
        self._numbers = itertools.count(1)
        self._texts = ThreadPoolExecutor(1, thread_name_prefix="tokeniser")
        self._engine: EngineThread | None = None
        self._state: asyncio.Future[Loaded] | None = None
        self._served = False
        self.on_failure: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._load()
        if self._idle_unload:
            self._watch = asyncio.create_task(self._unload_when_idle())

    def _load(self) -> None:
        loop = asyncio.get_running_loop()
        self._used = time.monotonic()
        began = time.monotonic()
        state = self._state = loop.create_future()

        def loaded(facts: Loaded) -> None:
            log.info("ready in %.2f s (%s library)", time.monotonic() - began, facts.choice.name)
            loop.call_soon_threadsafe(_settle, state, facts)

        def broken(error: Exception) -> None:
            log.error("the engine cannot serve: %s", error)
            loop.call_soon_threadsafe(self._fail, error)

        def post(news: list[Delivery]) -> None:
            if news:
                loop.call_soon_threadsafe(_deliver, news)

        self._engine = EngineThread(self._boot, loaded, broken, post)
        self._engine.start()

    def stop(self) -> None:
        if self._watch:
            self._watch.cancel()
        if self._engine:
            self._engine.inbox.put(Stop())
            self._engine.join(timeout=LAST_S)
        self._texts.shutdown(wait=False, cancel_futures=True)

    @property
    def served(self) -> bool:
        """Whether the model was loaded at some time."""
        return self._served

    @property
    def failure(self) -> str | None:
        if self._state is None or not self._state.done() or not (error := self._state.exception()):
            return None
        return str(error)

    @property
    def ready(self) -> Loaded | None:
        if self._state is None or not self._state.done() or self._state.exception():
            return None
        return self._state.result()

    @contextlib.contextmanager
    def lease(self) -> Iterator[None]:
        """Within it the model stays loaded: what was learnt from `wait_ready` stays true."""
        self._leases += 1
        try:
            yield
        finally:
            self._leases -= 1

    async def wait_ready(self, seconds: float) -> Loaded:
        """Loads an idle engine. Raises TimeoutError while it still loads, EngineFailed when it cannot serve."""
        self._used = time.monotonic()
        if self.idle:
            async with self._turn:
                if self.idle:
                    self.idle = False
                    self._load()
        if self._state is None:
            raise EngineFailed("the engine was not started")
        return await asyncio.wait_for(asyncio.shield(self._state), seconds)

    async def tokens(self, loaded: Loaded, parts: list[Part]) -> tuple[int, ...]:
        """Token ids of text, off the event loop. The model's beginning token leads, where it has one."""
        found = tuple(await self.off_loop(prompt_tokens, parts, loaded.tokenise))
        lead = loaded.beginning
        return found if found[: len(lead)] == lead else lead + found

    async def off_loop(self, work: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
        """Work on texts, beside the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._texts, functools.partial(work, *arguments, **more))

    def submit(self, jobs: Sequence[Job]) -> Answers:
        if self._engine is None:
            raise EngineFailed("the engine was not started")
        return Answers(self._engine, [(next(self._numbers), job) for job in jobs])

    async def embed(self, inputs: tuple[tuple[int, ...], ...]) -> list[list[float]]:
        """Raises EngineFailed. Cancelling the task stops the work between two chunks."""
        if self._engine is None:
            raise EngineFailed("the engine was not started")
        answer: asyncio.Future[list[list[float]] | Failed] = asyncio.get_running_loop().create_future()
        ticket = EmbeddingTicket(inputs, lambda value: _settle(answer, value))
        self._engine.inbox.put(ticket)
        try:
            vectors = await answer
        except asyncio.CancelledError:
            self._engine.inbox.put(Cancel(ticket))
            raise
        if isinstance(vectors, Failed):
            raise EngineFailed(vectors.message)
        return vectors

    async def _unload_when_idle(self) -> None:
        while True:
            await asyncio.sleep(self._idle_unload / 4)
            async with self._turn:
                if (engine := self._engine) and self._nobody_needs_it():
                    self._engine, self._state, self.idle = None, None, True
                    engine.inbox.put(Stop())
                    await asyncio.to_thread(engine.join)
                    log.info("unloaded after %g s without requests", self._idle_unload)

    def _nobody_needs_it(self) -> bool:
        loaded = self.ready
        if loaded is None:
            return False
        now = loaded.occupancy()
        if self._leases or now.running or now.waiting:
            self._used = time.monotonic()
        return time.monotonic() - self._used >= self._idle_unload

    def _fail(self, error: Exception) -> None:
        failed = EngineFailed(str(error))
        self._served = self.ready is not None
        if self._state is None or self._state.done():
            self._state = asyncio.get_running_loop().create_future()
        self._state.set_exception(failed)
        self._state.exception()  # read once, so that nobody is blamed for not waiting
        self.on_failure()


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _deliver(news: list[Delivery]) -> None:
    """One that cannot be delivered keeps no other request from its events."""
    for deliver, event in news:
        try:
            deliver(event)
        except Exception:
            log.exception("an event was not delivered")
