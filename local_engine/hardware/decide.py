"""From facts to a proposal: one table, each row with its reason. Pure; docs/reference/hardware.md is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from local_engine.hardware.facts import GIB, Gpu, Hardware

BACKENDS: Final = ("embedded", "llama_cpp", "vllm")
"""embedded: this project's engine, on the CPU; llama_cpp: a llama-server of yours; vllm: a vLLM of yours."""
SHARE: Final = 0.6
"""Of the memory: the rest is for the cache of the context, for the router, for everybody else."""
FULL_OFFLOAD: Final = 0.75
"""Of a small card's memory: what weights may take when the cache and the desktop want theirs, too."""


FP8, FOUR_BITS, K_QUANTS = "FP8", "AWQ (4 bits)", "Q4_K_M"
FP8_FROM: Final = 15 * GIB + GIB // 2


@dataclass(frozen=True, slots=True)
class Tier:
    """One row, for GPUs of less than `below` bytes. `examples`: quantisation -> an openly licensed model that fits."""

    name: str
    below: int
    backend: str
    model: str
    quantisation: str
    context: int
    parallel: int
    why: str
    examples: Mapping[str, str] = field(default_factory=dict)


CPU: Final = Tier(
    "CPU only",
    0,
    "embedded",
    "0.5 to 14 billion parameters, by memory and cores",
    K_QUANTS,
    8192,
    4,
    "Generating reads every weight once per token, so memory bandwidth is the limit: four bits are twice as fast as "
    "eight-bit ones at little loss, and llama.cpp repacks K-quants for AVX2, AVX-512 and AMX when it loads them.",
    {FOUR_BITS: "Qwen/Qwen2.5-Coder-1.5B-Instruct-AWQ", K_QUANTS: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"},
)
_SEVEN: Final = {FOUR_BITS: "Qwen/Qwen2.5-Coder-7B-Instruct-AWQ", K_QUANTS: "qwen2.5-coder-7b-instruct-q4_k_m.gguf"}
TIERS: Final = (
    Tier(
        "less than 8 GB",
        8 * GIB,
        "llama_cpp",
        "7 billion parameters, in part on the GPU",
        K_QUANTS,
        8192,
        4,
        "vLLM needs all weights and a cache on the card; llama.cpp puts as many layers there as fit and computes the "
        "others on the CPU.",
        {**_SEVEN, FP8: _SEVEN[FOUR_BITS]},
    ),
    Tier(
        "8 to 12 GB",
        12 * GIB,
        "vllm",
        "7 billion parameters",
        FOUR_BITS,
        8192,
        8,
        "A 7B model in four bits takes 5.6 GB; what is left is the cache that all chats share, and with grouped "
        "attention (57 KB a token) it holds one of 8,192 tokens even on 8 GB.",
        {**_SEVEN, FP8: _SEVEN[FOUR_BITS]},
    ),
    Tier(
        "12 to 24 GB",
        24 * GIB,
        "vllm",
        "7 to 8 billion parameters",
        "FP8 from 16 GB and Ada on, else AWQ (4 bits)",
        16384,
        16,
        "Eight-bit floats keep nearly all quality where the card computes with them (compute capability 8.9); before "
        "that, and under 16 GB, four bits leave the room that the cache needs for 16,384 tokens.",
        {**_SEVEN, FP8: "Qwen/Qwen3-8B-FP8"},
    ),
    Tier(
        "24 GB and more",
        1 << 62,
        "vllm",
        "8 billion parameters in FP8, 14 in four bits; more with more memory",
        "FP8 from Ada on, else AWQ (4 bits)",
        32768,
        32,
        "The cache, not the weights, decides how many are served at once; coding tools send 5,000 to 20,000 tokens, so "
        "one request must be able to have 32,768.",
        {**_SEVEN, FP8: "Qwen/Qwen3-8B-FP8", FOUR_BITS: "Qwen/Qwen2.5-Coder-14B-Instruct-AWQ"},
    ),
)
SEVERAL: Final = (
    "Several equal GPUs: the tier of one of them, with weights and cache split over the largest power of two of them "
    "(attention heads must divide by it)."
)
STEPS: Final = ((0.5, 1), (1.5, 2), (3.0, 4), (8.0, 8), (14.0, 16))
"""Billions of parameters that a CPU generates at reading speed, by the cores that this wants at least."""
AWQ_SINCE: Final = 7.5
FP8_SINCE: Final = 8.9
FP8_GFX: Final = ("gfx94", "gfx95", "gfx12")
BYTES_PER_PARAMETER: Final = 0.62
"""Four-bit K-quants, scales included."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """`gpu_layers`: 0 none, -1 all, or a share of the layers in per cent; `most_weights`: bytes a model may have."""

    tier: str
    backend: str
    model: str
    quantisation: str
    context: int
    parallel: int
    threads: int
    gpu_layers: int = 0
    gpus: int = 0
    most_weights: int = 0
    reasons: tuple[str, ...] = ()
    example: str = ""  # a model that fits


class UnknownBackend(ValueError):
    """FORCE_BACKEND names none that there is; the sentence lists them."""


def propose(hardware: Hardware, force: str = "") -> Proposal:
    """What to run here. `force` overrides the backend; everything else follows from it. UnknownBackend."""
    if force not in ("", *BACKENDS):
        raise UnknownBackend(f"FORCE_BACKEND={force[:40]} is unknown: write one of {', '.join(BACKENDS)}")
    group = _equal(hardware.gpus)
    if force == "embedded" or not group:
        return _on_cpu(hardware, force)
    return _on_gpu(hardware, group, force)


def _equal(gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """The GPUs to use: the largest one and all its equals, as many as a power of two."""
    if not gpus:
        return ()
    best = max(gpus, key=lambda gpu: gpu.memory)
    same = [gpu for gpu in gpus if (gpu.name, gpu.memory) == (best.name, best.memory)]
    return tuple(same[: 1 << (len(same).bit_length() - 1)])


def _on_cpu(hardware: Hardware, force: str) -> Proposal:
    room = int(hardware.memory * SHARE)
    billions = max(
        (size for size, cores in STEPS if size * 1e9 * BYTES_PER_PARAMETER <= room and cores <= hardware.cpu.cores),
        default=STEPS[0][0],
    )
    weights = int(billions * 1e9 * BYTES_PER_PARAMETER * 1.1)
    context = 16384 if hardware.memory >= 16 * GIB else CPU.context if hardware.memory >= 4 * GIB else 4096
    reasons = [
        CPU.why,
        (
            f"{hardware.cpu.cores} cores and {hardware.memory / GIB:.1f} GiB: up to {billions:g} billion parameters, "
            f"so that weights take at most {SHARE:.0%} of the memory and answers come about as fast as people read."
        ),
        f"A context of {context} tokens, shared: one long request may have all of it.",
    ]
    if hardware.nodes > 1:
        reasons.append(f"{hardware.nodes} NUMA nodes: bind the engine to one (numactl), or reads cross the link.")
    if force:
        reasons.append(f"{force} because FORCE_BACKEND says so.")
    parallel = min(8, max(2, 2 * hardware.cpu.cores))
    return Proposal(
        CPU.name,
        force or CPU.backend,
        f"up to {billions:g} billion parameters",
        quantisation := FOUR_BITS if force == "vllm" else CPU.quantisation,
        context,
        parallel,
        hardware.cpu.cores,
        most_weights=min(room, weights),
        reasons=tuple(reasons),
        example=CPU.examples[quantisation],
    )


def _on_gpu(hardware: Hardware, group: tuple[Gpu, ...], force: str) -> Proposal:
    gpu = group[0]
    tier = next(tier for tier in TIERS if gpu.memory < tier.below - GIB // 2)
    lacking = "" if tier.backend != "vllm" else cannot_vllm(gpu)
    backend = force or ("llama_cpp" if lacking else tier.backend)
    reasons = [tier.why]
    if lacking:
        reasons.append(f"No vLLM: {lacking}.")
    if force:
        reasons.append(f"{force} because FORCE_BACKEND says so.")
    if len(group) > 1:
        reasons.append(SEVERAL)
    memory = gpu.memory * len(group)
    quantisation = K_QUANTS if backend == "llama_cpp" else _quantisation(tier, gpu, reasons)
    layers = -1 if backend == "vllm" or tier is not TIERS[0] else _share_of_layers(gpu, reasons)
    return Proposal(
        tier.name,
        backend,
        tier.model,
        quantisation,
        tier.context,
        tier.parallel,
        hardware.cpu.cores,
        layers,
        len(group),
        int(memory * SHARE),
        tuple(reasons),
        tier.examples[quantisation],
    )


def cannot_vllm(gpu: Gpu) -> str:
    """Why vLLM does not serve these models on this card; empty when it does (docs.vllm.ai, quantization)."""
    if gpu.vendor == "apple":
        return "it does not use Metal"
    if gpu.vendor == "amd":
        known = gpu.capability.startswith(FP8_GFX)
        return "" if known else f"on AMD it wants FP8, which {gpu.capability or 'this card'} does not compute in"
    return (
        "" if gpu.compute >= AWQ_SINCE else f"four-bit weights need compute capability 7.5, not {gpu.capability or '?'}"
    )


def _quantisation(tier: Tier, gpu: Gpu, reasons: list[str]) -> str:
    if tier.quantisation == FOUR_BITS and gpu.vendor != "amd":
        return FOUR_BITS
    if gpu.capability.startswith(FP8_GFX) or (gpu.compute >= FP8_SINCE and gpu.memory >= FP8_FROM):
        return FP8
    reasons.append(f"{gpu.name}: four bits, by its memory or its compute capability ({gpu.capability or 'unknown'}).")
    return FOUR_BITS


def _share_of_layers(gpu: Gpu, reasons: list[str]) -> int:
    """Of a 7B model in four bits, which is what fits such a card in part."""
    weights = 7e9 * BYTES_PER_PARAMETER
    share = min(1.0, gpu.memory * FULL_OFFLOAD / weights)
    reasons.append(f"{gpu.memory / GIB:.1f} GiB hold {share:.0%} of the layers of a 7B model in four bits.")
    return -1 if share >= 1 else int(share * 100)
