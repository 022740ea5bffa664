"""The facts about a machine that a decision needs. Memory in bytes."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30
AMX = frozenset({"amx_tile", "amx_int8"})
TOLD = ("avx", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "asimd", "sve")
"""CPU flags worth a word, as /proc/cpuinfo spells them."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """`cores`: what this process may use, affinity and quota included; `quota` is None without one."""

    name: str
    flags: frozenset[str]
    cores: int
    quota: float | None = None

    @property
    def told(self) -> tuple[str, ...]:
        return tuple(flag for flag in TOLD if flag in self.flags)


@dataclass(frozen=True, slots=True)
class Gpu:
    """`vendor`: nvidia, amd or apple; `capability`: "8.9" by CUDA, "gfx1100" by ROCm, empty if nobody says."""

    vendor: str
    name: str
    memory: int
    capability: str = ""

    @property
    def compute(self) -> float:
        """CUDA's compute capability as a number; 0 where there is none."""
        try:
            return float(self.capability)
        except ValueError:
            return 0.0


@dataclass(frozen=True, slots=True)
class Hardware:
    """`memory`: what this process may ever have, its control group's limit included; `free`: what it could take now."""

    cpu: Cpu
    memory: int
    free: int
    nodes: int = 1  # NUMA
    gpus: tuple[Gpu, ...] = ()
    notes: tuple[str, ...] = ()  # what could not be found out, and why
