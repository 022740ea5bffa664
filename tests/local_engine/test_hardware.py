"""What is read of a machine, from planted /proc and /sys trees, and what is decided from it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from local_engine.hardware import groups
from local_engine.hardware.decide import FOUR_BITS, FP8, K_QUANTS, UnknownBackend, propose
from local_engine.hardware.detect import detect, free_bytes, usable_cores
from local_engine.hardware.facts import GIB, Cpu, Gpu, Hardware
from local_engine.hardware.gpus import run_tool
from local_engine.hardware.upstream import command_of, entry_of

CPUINFO = "processor\t: 0\nmodel name\t: Test CPU\nflags\t\t: fpu avx2 avx512f amx_tile amx_int8\n\n"
KB = 1024


def silent(_: Sequence[str]) -> str:
    return ""


def tool(**answers: str) -> Callable[[Sequence[str]], str]:
    return lambda command: next((text for word, text in answers.items() if word in " ".join(command)), "")


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MACHINE = {
    "proc/cpuinfo": CPUINFO + CPUINFO.replace(": 0", ": 1") * 7,
    "proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n",
    "proc/self/cgroup": "0::/\n",
    "sys/devices/system/node/node0/cpulist": "0-3",
    "sys/devices/system/node/node1/cpulist": "4-7",
}


def test_a_plain_machine(tmp_path: Path) -> None:
    found = detect(plant(tmp_path, MACHINE), silent, "Linux")
    assert (found.cpu.name, found.cpu.cores, found.cpu.quota) == ("Test CPU", 8, None)
    assert found.cpu.told == ("avx2", "avx512f", "amx_int8")
    assert (found.memory, found.free, found.nodes, found.gpus) == (16 * GIB, 8 * GIB, 2, ())


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    found = detect(tmp_path, silent, "Linux")
    assert (found.cpu.cores >= 1, found.memory, found.free, found.nodes) == (True, 0, 0, 1)
    assert free_bytes(tmp_path) is None
    assert propose(found).most_weights == 0


def test_this_machine() -> None:
    found = detect()
    assert found.cpu.cores == usable_cores() >= 1
    assert 0 < found.free <= found.memory


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({"sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2, None),
        ({"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1, None),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/memory.max": "max\n"}, 8, None),
        ({"sys/fs/cgroup/cpu.max": "nonsense\n"}, 8, None),
        (
            {
                "proc/self/cgroup": "0::/system.slice/a.service\n",
                "sys/fs/cgroup/system.slice/cpu.max": "400000 100000",
                "sys/fs/cgroup/system.slice/a.service/cpu.max": "max 100000",
                "sys/fs/cgroup/system.slice/memory.max": str(3000 * KB),
                "sys/fs/cgroup/system.slice/memory.current": str(1000 * KB),
                "sys/fs/cgroup/system.slice/memory.stat": f"anon 1\ninactive_file {500 * KB}\n",
                "sys/fs/cgroup/system.slice/a.service/memory.max": "max",
            },
            4,
            (3000 * KB, 2500 * KB),
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n3:pids:/docker/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2 * GIB),
                "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB),
            },
            3,
            (2 * GIB, GIB),
        ),
        ({"proc/self/cgroup": "5:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": str(1 << 62)}, 8, None),
        ({"sys/fs/cgroup/memory.max": str(GIB)}, 8, (GIB, 8 * GIB)),
    ],
)
def test_control_groups(tmp_path: Path, files: dict[str, str], cores: int, memory: tuple[int, int] | None) -> None:
    root = plant(tmp_path, {**MACHINE, **files})
    found = detect(root, silent, "Linux")
    assert found.cpu.cores == cores
    limit, free = memory or (16 * GIB, 8 * GIB)
    assert (found.memory, found.free) == (limit, min(free, limit))


def test_a_limit_without_a_count_of_what_is_used(tmp_path: Path) -> None:
    assert groups.memory(plant(tmp_path, {**MACHINE, "sys/fs/cgroup/memory.max": "5"})) == (5, None)


def test_nvidia_by_its_tool(tmp_path: Path) -> None:
    table = "NVIDIA GeForce RTX 4090, 24564, 8.9\nbroken row\nA, [N/A], 8.0\nNVIDIA GeForce RTX 4090, 24564, 8.9\n"
    found = detect(plant(tmp_path, MACHINE), tool(**{"nvidia-smi": table}), "Linux")
    assert [(gpu.vendor, gpu.memory >> 20, gpu.compute) for gpu in found.gpus] == [("nvidia", 24564, 8.9)] * 2


def test_an_nvidia_card_without_its_driver_is_told(tmp_path: Path) -> None:
    card = {"sys/class/drm/card0/device/vendor": "0x10de\n", "sys/class/drm/card0-HDMI-A-1/device/vendor": "0x10de\n"}
    found = detect(plant(tmp_path, {**MACHINE, **card}), silent, "Linux")
    assert (found.gpus, "nvidia-smi says nothing" in found.notes[0]) == ((), True)


def test_amd_by_the_kernels_files(tmp_path: Path) -> None:
    files = {
        "sys/class/drm/card0/device/vendor": "0x1002",
        "sys/class/drm/card0/device/mem_info_vram_total": str(24 * GIB),
        "sys/class/drm/card0/device/unique_id": "00ab",
        "sys/class/drm/card1/device/vendor": "0x1002",
        "sys/class/drm/card1/device/mem_info_vram_total": str(GIB // 2),
        "sys/class/kfd/kfd/topology/nodes/0/properties": "cpu_cores_count 8\ngfx_target_version 0\n",
        "sys/class/kfd/kfd/topology/nodes/1/properties": "gfx_target_version 110000\nunique_id 171\n",
        "sys/class/kfd/kfd/topology/nodes/2/properties": "gfx_target_version 90010\nunique_id 5\n",
    }
    root = plant(tmp_path, {**MACHINE, **files})
    assert detect(root, silent, "Linux").gpus == (Gpu("amd", "AMD GPU", 24 * GIB, "gfx1100"),)
    (root / "sys/class/drm/card0/device/unique_id").write_text("")
    (root / "sys/class/drm/card0/device/product_name").write_text("MI300")
    assert detect(root, silent, "Linux").gpus == (Gpu("amd", "MI300", 24 * GIB, ""),)
    (root / "sys/class/kfd/kfd/topology/nodes/1/properties").write_text("gfx_target_version 0\n")
    assert detect(root, silent, "Linux").gpus[0].capability == "gfx90a"


def test_apple_by_its_memory(tmp_path: Path) -> None:
    apple = tool(memsize=str(16 * GIB), brand_string="Apple M2\n")
    (gpu,) = detect(tmp_path, apple, "Darwin").gpus
    assert (gpu.vendor, gpu.name, gpu.memory) == ("apple", "Apple M2", int(11.2 * GIB))
    assert detect(tmp_path, tool(memsize=str(GIB), brand_string="Intel"), "Darwin").gpus == ()


def test_a_tool_that_is_missing_broken_or_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_tool(("nvidia-smi",)) == ""
    path = tmp_path / "nvidia-smi"
    for script, said in (("#!/bin/sh\necho A, 8192, 7.5\n", "A, 8192, 7.5\n"), ("#!/bin/sh\nexit 9\n", ""), ("x", "")):
        path.write_text(script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        assert run_tool(("nvidia-smi",)) == said


HOST = Hardware(Cpu("c", frozenset(), 8), 32 * GIB, 30 * GIB)


def card(gib: float, capability: str = "8.9", vendor: str = "nvidia") -> Gpu:
    return Gpu(vendor, "card", int(gib * GIB), capability)


DECISIONS = [
    # machine, FORCE_BACKEND -> tier, backend, quantisation, layers, GPUs
    ((), "", "CPU only", "embedded", K_QUANTS, 0, 0),
    ((), "vllm", "CPU only", "vllm", FOUR_BITS, 0, 0),
    ((card(4),), "", "less than 8 GB", "llama_cpp", K_QUANTS, 74, 1),
    ((card(6),), "", "less than 8 GB", "llama_cpp", K_QUANTS, -1, 1),
    ((card(8),), "", "8 to 12 GB", "vllm", FOUR_BITS, -1, 1),
    ((card(7.996),), "", "8 to 12 GB", "vllm", FOUR_BITS, -1, 1),
    ((card(11),), "", "8 to 12 GB", "vllm", FOUR_BITS, -1, 1),
    ((card(12),), "", "12 to 24 GB", "vllm", FOUR_BITS, -1, 1),
    ((card(16),), "", "12 to 24 GB", "vllm", FP8, -1, 1),
    ((card(16, "8.6"),), "", "12 to 24 GB", "vllm", FOUR_BITS, -1, 1),
    ((card(24),), "", "24 GB and more", "vllm", FP8, -1, 1),
    ((card(80, "8.0"),), "", "24 GB and more", "vllm", FOUR_BITS, -1, 1),
    ((card(16, "7.0"),), "", "12 to 24 GB", "llama_cpp", K_QUANTS, -1, 1),
    ((card(16, ""),), "", "12 to 24 GB", "llama_cpp", K_QUANTS, -1, 1),
    ((card(24, "gfx1100", "amd"),), "", "24 GB and more", "llama_cpp", K_QUANTS, -1, 1),
    ((card(192, "gfx942", "amd"),), "", "24 GB and more", "vllm", FP8, -1, 1),
    ((card(10, "gfx1200", "amd"),), "", "8 to 12 GB", "vllm", FP8, -1, 1),
    ((card(11, "metal", "apple"),), "", "8 to 12 GB", "llama_cpp", K_QUANTS, -1, 1),
    ((card(24), card(24), card(24)), "", "24 GB and more", "vllm", FP8, -1, 2),
    ((card(8), card(24)), "", "24 GB and more", "vllm", FP8, -1, 1),
    ((card(24),), "embedded", "CPU only", "embedded", K_QUANTS, 0, 0),
    ((card(24),), "llama_cpp", "24 GB and more", "llama_cpp", K_QUANTS, -1, 1),
    ((card(6),), "vllm", "less than 8 GB", "vllm", FOUR_BITS, -1, 1),
]


@pytest.mark.parametrize("row", DECISIONS, ids=[f"{len(row[0])} {row[2]} {row[3]} {row[1]}" for row in DECISIONS])
def test_the_table(row: tuple[tuple[Gpu, ...], str, str, str, str, int, int]) -> None:
    gpus, force, *wanted = row
    found = propose(replace(HOST, gpus=gpus), force)
    assert [found.tier, found.backend, found.quantisation, found.gpu_layers, found.gpus] == wanted
    assert found.reasons
    assert found.example
    assert ("FORCE_BACKEND" in " ".join(found.reasons)) == bool(force)


@pytest.mark.parametrize(
    ("memory", "cores", "billions", "context"),
    [(1, 2, "0.5", 4096), (8, 1, "0.5", 8192), (8, 4, "3", 8192), (16, 8, "8", 16384), (64, 64, "14", 16384)],
)
def test_a_cpu_gets_what_its_memory_and_its_cores_allow(memory: int, cores: int, billions: str, context: int) -> None:
    found = propose(Hardware(Cpu("c", frozenset(), cores), memory * GIB, memory * GIB, nodes=2))
    assert (found.model, found.context) == (f"up to {billions} billion parameters", context)
    assert found.most_weights <= memory * GIB * 0.6
    assert "NUMA" in " ".join(found.reasons)


def test_an_unknown_backend_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownBackend, match="embedded, llama_cpp, vllm"):
        propose(HOST, "cuda")


def test_commands_listen_on_loopback_and_say_what_was_decided() -> None:
    several = propose(replace(HOST, gpus=(card(24), card(24))))
    command = command_of(several)
    assert command[:2] == ["vllm", "serve"]
    assert {"127.0.0.1", "32768", "--tensor-parallel-size"} <= set(command)
    small = command_of(propose(replace(HOST, gpus=(card(4),))))
    assert (small[0], small[small.index("-ngl") + 1]) == ("llama-server", "20")
    assert command_of(propose(HOST)) == []
    managed = entry_of(several, managed=True)
    assert '/vllm", "serve", "/srv/models/Qwen3-8B-FP8", "--uds", "{socket}"' in managed
    assert 'HF_HUB_OFFLINE: "1"' in managed
    assert '"--host", "{socket}"' in entry_of(propose(replace(HOST, gpus=(card(4),))), managed=True)
    assert "url:" in entry_of(several, managed=False)
    assert "model: auto" in entry_of(propose(HOST), managed=False)
