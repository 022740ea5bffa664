"""The part of `ringfence doctor` that says which models this machine can run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from local_engine.hardware.facts import AMX, GIB, Cpu, Gpu, Hardware
from local_engine.library import Choice, NoLibrary
from local_engine.measure import Speed
from router.cli import hardware
from router.cli.doctor import doctor
from router.cli.hardware import Machine, amx_verdict

HOST = Hardware(Cpu("Test CPU", frozenset({"avx2"}), 2, 1.5), 8 * GIB, 6 * GIB, notes=("a note",))
app = typer.Typer()
app.command()(doctor)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "detect", lambda: HOST)
    monkeypatch.setattr(hardware, "candidates", lambda: [Choice("native", Path("/n")), Choice("safe", Path("/s"))])
    monkeypatch.setattr(hardware, "choose", lambda *_: Choice("safe", Path("/s"), "the native library crashed"))


def test_the_machine_is_told_and_a_proposal_made(host: None, tmp_path: Path) -> None:
    lines = Machine({}, tmp_path, None).lines()
    assert lines[:5] == [
        "CPU: Test CPU, 2 cores to use, quota 1.5; avx2",
        "memory: 8.0 GiB, 6.0 free; NUMA nodes: 1",
        "GPU: none",
        "note: a note",
        "llama.cpp: safe library (the native library crashed)",
    ]
    assert "proposal for CPU only: embedded" in lines[6]
    assert lines[-1].strip().startswith("small: {model: auto")


def test_a_gpu_gets_the_command_of_a_server_beside_us(
    host: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "detect", lambda: replace(HOST, gpus=(Gpu("nvidia", "RTX", 24 * GIB, "8.9"),)))
    text = "\n".join(Machine({}, tmp_path, None).lines())
    assert "GPU: RTX, 24.0 GiB, 8.9" in text
    assert "run: vllm serve" in text
    assert "layers on the GPU: all" in text
    assert "run: llama-server" in "\n".join(Machine({"FORCE_BACKEND": "llama_cpp"}, tmp_path, None).lines())


def test_measurements_are_kept_when_nobody_disturbed_them(
    host: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    speeds = {"/n": Speed(100, 10, 0.99), "/s": Speed(90, 20, 0.99)}
    monkeypatch.setattr(hardware, "measure", lambda folder, *_: speeds[str(folder)])
    monkeypatch.setattr(hardware, "prefer", lambda name, *_: kept.append(name))
    machine = Machine({}, tmp_path, tmp_path)
    machine.bench()
    assert kept == ["safe"]
    assert "  safe: prompts 90, answers 20 tokens/s" in machine.lines()
    assert set(machine.document()["speeds"]) == {"native", "safe"}
    speeds["/s"] = Speed(90, 20, 0.5)
    machine.bench()
    assert kept == ["safe"]
    assert "others took 50% of the cores" in "\n".join(machine.lines())
    speeds["/s"] = Speed(trouble="ended by signal 4")
    machine.bench()
    assert kept == ["safe", "native"]
    nothing = Machine({}, None, tmp_path)
    nothing.bench()
    assert (nothing.speeds, nothing.library_trouble) == ({}, "the model is not here: nothing was tried")


def test_no_library_at_all_is_told(host: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> Choice:
        raise NoLibrary("llama.cpp is not compiled")

    monkeypatch.setattr(hardware, "choose", none)
    assert "llama.cpp: no library (llama.cpp is not compiled)" in Machine({}, tmp_path, None).lines()


def test_only_running_it_tells_whether_amx_works() -> None:
    amx = replace(HOST, cpu=replace(HOST.cpu, flags=AMX))
    assert amx_verdict(HOST, "native", "") == "this CPU has none"
    assert amx_verdict(amx, "native", "").startswith("works")
    assert "crashed with SIGILL" in amx_verdict(amx, "safe", "the native library crashed with SIGILL")
    assert "was not chosen" in amx_verdict(amx, "safe", "")


def test_doctor_speaks_json_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    document = json.loads(CliRunner().invoke(app, ["--json"]).stdout)["machine"]
    assert document["cpu"]["cores"] >= 1
    assert document["proposal"]["backend"] in ("embedded", "llama_cpp", "vllm")


@pytest.mark.parametrize(
    ("arguments", "force", "sentence"),
    [
        (["--model", "/nowhere.gguf"], "", "No such file"),
        (["--bench", "--model", "package:not-there"], "", "not installed"),
        ([], "cuda", "write one of embedded"),
        (["--bench", "--config", "/nowhere.yaml"], "", "cannot be read"),
    ],
)
def test_what_there_is_not_is_told(arguments: list[str], force: str, sentence: str) -> None:
    answer = CliRunner().invoke(app, arguments, env={"FORCE_BACKEND": force} if force else {})
    assert (answer.exit_code, sentence in answer.stderr) == (2, True), answer.stderr
