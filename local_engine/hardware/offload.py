"""How many of a model's layers go to the graphics card: a pure decision, with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from local_engine.gguf import Header
from local_engine.hardware.decide import FULL_OFFLOAD
from local_engine.hardware.facts import GIB, Gpu
from local_engine.memory import need

NO_BACK_END = (
    "this build of llama.cpp computes on the processor alone: ENGINE_BACKEND=cuda make setup compiles for a card"
)


class CannotOffload(ValueError):
    """Layers were asked for that nothing can take; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Machine:
    """`able`: the library has a back end for graphics cards."""

    able: bool
    gpus: Sequence[Gpu]


@dataclass(frozen=True, slots=True)
class Offload:
    """`layers` counts the output as one more than the model's blocks, as llama.cpp does."""

    layers: int
    reason: str


def offload(asked: int | None, machine: Machine, header: Header, cells: int) -> Offload:
    """`asked`: so many layers, or None for as many as the first card holds with their part of the cache."""
    every = header.number("block_count") + 1
    if asked is not None:
        if asked and not machine.able:
            raise CannotOffload(f"--gpu-layers {asked}: {NO_BACK_END}, or leave the option away")
        return Offload(min(asked, every), "as asked")
    if not machine.able:
        return Offload(0, NO_BACK_END)
    if not machine.gpus:
        return Offload(0, "no graphics card was found")
    card, wanted = machine.gpus[0], need(header, cells)
    room = int(card.memory * FULL_OFFLOAD)
    layer = max(1, (wanted.weights + wanted.cell * wanted.cells) // every)
    layers = min(every, room // layer)
    told = f"{card.name}, {card.memory / GIB:.1f} GiB: {layers} of {every} layers, {layer / (1 << 20):.0f} MiB each"
    return Offload(layers, f"{told}, in {FULL_OFFLOAD:.0%} of it")
