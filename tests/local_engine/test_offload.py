"""What goes to a graphics card: tables, since none was here to run on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from local_engine.gguf import Header
from local_engine.hardware.facts import GIB, Gpu
from local_engine.hardware.offload import CannotOffload, Machine, offload
from local_engine.launch import EngineSpec, command
from local_engine.options import BadOptions, parse
from tests.local_engine.conftest import Child, listen
from tests.local_engine.made import tiny_model
from tests.service import until
from tools.build_engine import back_end

SEVEN_B = Header(
    3,
    300,
    {
        "general.architecture": "llama",
        "llama.block_count": 32,
        "llama.embedding_length": 4096,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 8,
    },
    4 * GIB,
)


def card(gib: float) -> Gpu:
    return Gpu("nvidia", "card", int(gib * GIB), "8.9")


@pytest.mark.parametrize(
    ("asked", "able", "gpus", "layers", "reason"),
    [
        (0, False, (), 0, "as asked"),
        (20, True, (), 20, "as asked"),
        (99, True, (card(2),), 33, "as asked"),
        (None, False, (card(24),), 0, "computes on the processor alone"),
        (None, True, (), 0, "no graphics card"),
        (None, True, (card(24),), 33, "33 of 33 layers"),
        (None, True, (card(4),), 19, "19 of 33 layers, 155 MiB each, in 75% of it"),
        (None, True, (card(0.1),), 0, "0 of 33 layers"),
    ],
)
def test_as_many_layers_as_fit(asked: int | None, able: bool, gpus: tuple[Gpu, ...], layers: int, reason: str) -> None:
    found = offload(asked, Machine(able, gpus), SEVEN_B, 8192)
    assert found.layers == layers
    assert reason in found.reason


def test_layers_that_nothing_can_take_are_refused() -> None:
    with pytest.raises(CannotOffload, match="--gpu-layers 5: this build"):
        offload(5, Machine(able=False, gpus=()), SEVEN_B, 8192)


@pytest.mark.engine
@pytest.mark.parametrize(("layers", "status", "word"), [("5", 500, "ENGINE_BACKEND=cuda"), ("auto", 200, "")])
def test_the_engine_says_so_and_auto_stays_on_the_processor(
    built: None, tmp_path: Path, state_dir: Path, layers: str, status: int, word: str
) -> None:
    listener, path = listen(tmp_path)
    fd = listener.fileno()
    spec = EngineSpec(model=str(tiny_model(tmp_path / "tiny.gguf")), context=256, threads=1)
    line = [*command(spec, fd, state_dir), "--gpu-layers", layers]
    child = Child(listener, path, subprocess.Popen(line, pass_fds=(fd,), stdin=subprocess.DEVNULL))
    try:
        with child.client() as client:
            until(lambda: client.get("/health").status_code != 503, 120, "it still loads")
            found = client.get("/health")
            assert (found.status_code, word in found.text) == (status, True)
    finally:
        child.end()


def test_the_command_line_takes_auto_or_a_number() -> None:
    assert parse(["--fd", "3"]).spec.gpu_layers == 0
    assert parse(["--fd", "3", "--gpu-layers", "auto"]).spec.gpu_layers is None
    assert parse(["--fd", "3", "--gpu-layers", "12"]).spec.gpu_layers == 12
    for wrong in ("-1", "all", "1001", "²"):
        with pytest.raises(BadOptions, match="takes auto or a number"):
            parse(["--fd", "3", f"--gpu-layers={wrong}"])


@pytest.mark.parametrize(
    ("asked", "system", "nvcc", "card", "flags", "told"),
    [
        ("", "Linux", False, False, (), ""),
        ("auto", "Linux", True, False, (), ""),
        ("", "Linux", True, True, (), "ENGINE_BACKEND=cuda make setup"),
        ("cuda", "Linux", False, False, ("-DGGML_CUDA=ON",), "with CUDA"),
        ("cpu", "Linux", True, True, (), "alone"),
        ("cpu", "Darwin", False, False, ("-DGGML_METAL=OFF",), "alone"),
        ("", "Darwin", False, False, (), ""),
    ],
)
def test_nothing_is_compiled_for_a_card_unless_asked(
    asked: str, system: str, nvcc: bool, card: bool, flags: tuple[str, ...], told: str
) -> None:
    found = back_end(asked, system, nvcc=nvcc, card=card)
    assert found[0] == flags
    assert told in found[1]
    assert bool(told) == bool(found[1])


def test_an_unknown_back_end_ends_the_build() -> None:
    with pytest.raises(SystemExit, match="is unknown: write auto, cpu or cuda"):
        back_end("vulkan", "Linux", nvcc=False, card=False)
