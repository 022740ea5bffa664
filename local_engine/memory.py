"""Whether a model fits into this machine's memory, with the arithmetic, before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass

from local_engine.gguf import Header

MIB = 1 << 20
OVERHEAD = 128 * MIB
"""The Python process, compute buffers of a 512-token batch, scores of the sampled rows: measured at 60-110 MiB."""

LOOKING = 384 * MIB
"""A picture of the most pixels, decoded twice, 16 bits a colour (256 MiB), and the encoder's buffers."""

CELL_BYTES = 2
"""Keys and values are stored as 16-bit floats."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that serving takes. `cell` is what one token of context costs, `eyes` what pictures are read with."""

    weights: int
    cell: int
    cells: int
    eyes: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.cell * self.cells + self.eyes + OVERHEAD

    def explain(self) -> str:
        cache = f"{self.cells} tokens x {self.cell / 1024:.1f} KiB = {self.cell * self.cells / MIB:.0f} MiB of cache"
        eyes = f" + {self.eyes / MIB:.0f} MiB to read pictures" if self.eyes else ""
        parts = f"{self.weights / MIB:.0f} MiB of weights + {cache} + {OVERHEAD // MIB} MiB of buffers"
        return f"{parts}{eyes} = {self.total / MIB:.0f} MiB"


def need(header: Header, cells: int, adapters: int = 0, projector: Header | None = None) -> Need:
    """From the header's facts: layers, key and value widths; the adapters' bytes; and the projector. A header without
    facts counts as weights only.
    """
    heads = max(1, header.number("attention.head_count", 1))
    width = header.number("embedding_length") // heads
    key = header.number("attention.key_length", width)
    value = header.number("attention.value_length", width)
    key_heads = header.number("attention.head_count_kv", heads)
    cell = header.number("block_count") * key_heads * (key + value) * CELL_BYTES
    return Need(header.size + adapters, cell, cells, projector.size + LOOKING if projector else 0)


def refusal(wanted: Need, available: int | None) -> str:
    """Empty when it fits, or when nobody knows how much memory there is."""
    if available is None or wanted.total <= available:
        return ""
    room = (available - wanted.weights - wanted.eyes - OVERHEAD) // max(1, wanted.cell)
    advice = f"--context {room} would fit" if room >= 256 else "no context would fit; take a smaller model"
    return f"not enough memory: {wanted.explain()}, and {available / MIB:.0f} MiB are free; {advice}"


def copies(wanted: Need, available: int | None) -> bool:
    """Whether the weights may be read into memory of the engine's own, while the kernel keeps the file's pages too."""
    return available is not None and wanted.total + wanted.weights <= available


def swap_tokens(wanted: Need, available: int | None, most: int = 0) -> int:
    """How many tokens' state may be kept outside the cache: as many as the cache has, unless memory is short.

    At most half of what is free beside the engine (`available`), or of what it may have (`most`; 0 for no such limit).
    """
    limits = [limit - wanted.total for limit in (available, most or None) if limit is not None]
    room = min(limits) // 2 if limits else wanted.cell * wanted.cells
    return max(0, min(wanted.cells, room // max(1, wanted.cell)))
