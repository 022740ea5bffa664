"""Read the machine: /proc, /sys, control groups, and what the GPUs' own tools say. Nothing is loaded or changed."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from local_engine.hardware import groups
from local_engine.hardware.facts import Cpu, Hardware
from local_engine.hardware.gpus import Run, find_gpus, run_tool

ROOT = Path("/")


def detect(root: Path = ROOT, run: Run = run_tool, system: str = platform.system()) -> Hardware:
    """The machine below `root`: tests plant one in a directory. `run` asks the tools of GPU makers."""
    gpus, notes = find_gpus(root, run, system)
    memory, free = _memory(root)
    return Hardware(_cpu(root), memory, free, _nodes(root), gpus, notes)


def usable_cores(root: Path = ROOT) -> int:
    """Cores that this process may use: CPU affinity, and the quota of its control groups, rounded down."""
    if root == ROOT and hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = _text(root / "proc/cpuinfo").count("processor\t") or os.cpu_count() or 1
    quota = groups.cores(root)
    return cores if quota is None else max(1, min(cores, int(quota)))


def free_bytes(root: Path = ROOT) -> int | None:
    """Memory that this process may still take: the machine's, or less under a control group; None: nobody knows."""
    machine, (_, group) = _meminfo(root, "MemAvailable"), groups.memory(root)
    return min((found for found in (machine, group) if found is not None), default=None)


def _memory(root: Path) -> tuple[int, int]:
    total, (limit, _) = _meminfo(root, "MemTotal") or 0, groups.memory(root)
    whole = total if limit is None else min(total or limit, limit)
    free = free_bytes(root)
    return whole, whole if free is None else min(free, whole or free)


def _cpu(root: Path) -> Cpu:
    facts: dict[str, str] = {}
    for line in _text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name") or facts.get("Model") or platform.processor() or platform.machine()
    flags = frozenset((facts.get("flags") or facts.get("Features") or "").split())
    return Cpu(name, flags, usable_cores(root), groups.cores(root))


def _nodes(root: Path) -> int:
    folder = root / "sys/devices/system/node"
    return max(1, sum(1 for path in folder.glob("node[0-9]*") if path.is_dir()))


def _meminfo(root: Path, wanted: str) -> int | None:
    for line in _text(root / "proc/meminfo").splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == f"{wanted}:" and words[1].isdigit():
            return int(words[1]) * 1024
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
