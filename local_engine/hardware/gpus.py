"""GPUs: NVIDIA's by its own tool (which reads NVML), AMD's by the kernel's files, Apple's by the system's memory."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from local_engine.hardware.facts import Gpu

TOOL_S = 20.0
MIB = 1 << 20
AMD = "0x1002"
NVIDIA = "0x10de"
METAL_SHARE = 0.7
"""Of its unified memory macOS lets the GPU have about so much."""
QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits")

Run = Callable[[Sequence[str]], str]
"""A tool's standard output; empty when it is not there or fails."""


def find_gpus(root: Path, run: Run, system: str) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """What there is, and notes about what is there but cannot be used."""
    if system == "Darwin":
        return _apple(run), ()
    nvidia = _nvidia(run(QUERY))
    cards = _cards(root)
    notes = []
    if not nvidia and NVIDIA in (vendor for _, vendor in cards):
        notes.append("an NVIDIA card is here, but nvidia-smi says nothing of it: install its driver and tools")
    amd = tuple(gpu for folder, vendor in cards if vendor == AMD and (gpu := _amd(root, folder)) is not None)
    return nvidia + amd, tuple(notes)


def run_tool(command: Sequence[str]) -> str:
    path = shutil.which(command[0])
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, *command[1:]],
            capture_output=True,
            text=True,
            timeout=TOOL_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _nvidia(table: str) -> tuple[Gpu, ...]:
    """Rows of name, MiB, compute capability. A row that says less is no GPU that anything could be put on."""
    rows = [[cell.strip() for cell in line.split(",")] for line in table.splitlines()]
    return tuple(Gpu("nvidia", row[0], int(row[1]) * MIB, row[2]) for row in rows if len(row) == 3 and row[1].isdigit())


def _cards(root: Path) -> list[tuple[Path, str]]:
    folders = sorted((root / "sys/class/drm").glob("card[0-9]*"))
    found = [(folder, _text(folder / "device/vendor")) for folder in folders if "-" not in folder.name]
    return [(folder, vendor) for folder, vendor in found if vendor]


def _amd(root: Path, folder: Path) -> Gpu | None:
    """Integrated graphics, with less than a gibibyte of its own, is none that a model fits on."""
    size = _text(folder / "device/mem_info_vram_total")
    if not size.isdigit() or int(size) < 1 << 30:
        return None
    name = _text(folder / "device/product_name") or "AMD GPU"
    return Gpu("amd", name, int(size), _gfx(root, _text(folder / "device/unique_id")))


def _gfx(root: Path, unique: str) -> str:
    """Its instruction set, from the compute driver's topology, where 110000 stands for gfx1100."""
    found: dict[str, str] = {}
    for path in sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("*/properties")):
        facts = dict(line.split(" ", 1) for line in _text(path).splitlines() if " " in line)
        version = facts.get("gfx_target_version", "0").strip()
        if version.isdigit() and int(version):
            number = int(version)
            key = f"{int(facts.get('unique_id', '0')):x}"
            found[key] = f"gfx{number // 10000}{number // 100 % 100:x}{number % 100:x}"
    own = found.get(unique.removeprefix("0x").lstrip("0"))
    return own or (next(iter(found.values())) if len(set(found.values())) == 1 else "")


def _apple(run: Run) -> tuple[Gpu, ...]:
    memory = run(("sysctl", "-n", "hw.memsize")).strip()
    name = run(("sysctl", "-n", "machdep.cpu.brand_string")).strip()
    if not memory.isdigit() or not name.startswith("Apple"):
        return ()
    return (Gpu("apple", name, int(int(memory) * METAL_SHARE), "metal"),)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
