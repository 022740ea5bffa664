"""Everything native that the engine thread owns: the model, its main context, and one for embeddings on demand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from local_engine.launch import Adapter
from local_engine.native.adapters import Adapters
from local_engine.native.context import Context, ContextShape
from local_engine.native.diagnostics import forward_logs
from local_engine.native.model import Model, ModelError
from local_engine.pictures.bounds import BadPicture
from local_engine.scheduling.lookup import MOST
from local_engine.scheduling.step import Limits

if TYPE_CHECKING:
    from local_engine.native.projector import Projector

EMBED_CELLS = 2048
EMBED_BATCH = 64
"""llama.cpp computes scores for every embedded token too; small batches keep their buffer at a few megabytes."""

log = logging.getLogger("local_engine")


@dataclass(slots=True)
class Machine:
    """Made and closed on the engine thread."""

    model: Model
    context: Context
    limits: Limits
    threads: int
    adapters: Adapters
    projector: Projector | None = None
    _embedder: Context | None = field(default=None)

    def use_threads(self, threads: int) -> None:
        """For the next decodes of every context."""
        self.context.use_threads(threads)
        if self._embedder:
            self._embedder.use_threads(threads)

    @property
    def embed_limit(self) -> int:
        """Tokens that one embedded text may have."""
        return min(self.limits.cells, EMBED_CELLS)

    def warm_up(self) -> None:
        """One decode touches every weight and starts the thread team, so the first request does not pay for it."""
        self.context.batch.clear()
        self.context.batch.add(0, 0, [max(self.model.bos(), 0)], output=True)
        self.context.decode()
        self.context.clear()

    def embed(self, tokens: tuple[int, ...]) -> Generator[None, None, list[float]]:
        """The mean of the last hidden states, scaled to length 1. Yields between chunks, so that others may go on."""
        if self._embedder is None:
            self._embedder = Context(
                self.model, ContextShape(self.embed_limit, 1, EMBED_BATCH, self.threads, output="hidden")
            )
            self.adapters.apply(self._embedder.pointer)
        self._embedder.clear()
        total = np.zeros(self.model.width, np.float64)
        for start in range(0, len(tokens), EMBED_BATCH):
            chunk = tokens[start : start + EMBED_BATCH]
            self._embedder.batch.clear()
            self._embedder.batch.add(0, start, chunk, output=True)
            self._embedder.batch.mark_all()
            self._embedder.decode()
            for row in range(len(chunk)):
                total += self._embedder.hidden(row)
            yield
        return [float(value) for value in total / max(float(np.linalg.norm(total)), 1e-12)]

    def embeddings(self, picture: bytes, number: int) -> NDArray[np.float32]:
        """What stands for one piece of a picture. Raises BadPicture."""
        if self.projector is None:
            raise BadPicture("this model has no eyes")
        return self.projector.embeddings(picture, number)

    def close(self) -> None:
        if self._embedder:
            self._embedder.close()
        if self.projector:
            self.projector.close()
        self.context.close()
        self.model.close()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to load, and for how many threads. `copied`: see Model."""

    path: Path
    limits: Limits
    threads: int
    lora: tuple[Adapter, ...] = ()
    gpu_layers: int = 0
    copied: bool = False
    projector: Path | None = None


def load(plan: Plan, progress: Callable[[str], None]) -> Machine:
    """Raises ModelError when the model, an adapter or the context cannot be made."""
    forward_logs()
    limits = plan.limits
    progress(f"loading {plan.path.name}")
    model = Model(plan.path, plan.gpu_layers, copied=plan.copied)
    adapters = Adapters(model, plan.lora)
    projector = _projector(plan, model, progress)
    if projector and projector.whole:
        limits = replace(limits, whole=True)
    progress(f"{model.describe()}: making a context of {limits.cells} tokens for {limits.slots} at once")
    shape = ContextShape(limits.cells, limits.slots, limits.batch, plan.threads, rows=1 + MOST)
    context = Context(model, shape)
    adapters.apply(context.pointer)
    machine = Machine(model, context, limits, plan.threads, adapters, projector)
    # By one thread: where the cores are busy, two took a hundred times as long to wait for one another.
    machine.use_threads(1)
    machine.warm_up()
    machine.use_threads(plan.threads)
    return machine


def _projector(plan: Plan, model: Model, progress: Callable[[str], None]) -> Projector | None:
    if plan.projector is None:
        return None
    progress(f"loading the projector {plan.projector.name}")
    # Without pictures, its library is neither needed nor loaded.
    try:
        from local_engine.native.projector import Projector  # noqa: PLC0415 - see above
    except (OSError, RuntimeError, AttributeError) as error:
        raise ModelError(f"the engine was compiled without what reads pictures: run `make` again ({error})") from None

    return Projector(plan.projector, model, plan.threads, plan.limits.batch)
