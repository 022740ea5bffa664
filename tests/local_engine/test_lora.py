"""LoRA adapters: judged before llama.cpp reads them, and applied to every answer."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_engine.adapter_file import check_adapters, mark, read_adapters
from local_engine.gguf import BadModelFile, Header, read_header
from local_engine.launch import Adapter, EngineSpec, command
from local_engine.model_file import NoSuchModel
from local_engine.options import BadOptions, parse
from tests.local_engine.conftest import Child, listen, spawn, wait_until_ready
from tests.local_engine.made import tiny_adapter, tiny_model

LLAMA = Header(3, 1, {"general.architecture": "llama"}, 1)


@contextmanager
def serving(folder: Path, state_dir: Path, *lora: Adapter) -> Iterator[httpx.Client]:
    model = folder / "tiny.gguf"
    if not model.exists():
        tiny_model(model)
    folder.joinpath("engine.sock").unlink(missing_ok=True)
    listener, path = listen(folder)
    spec = replace(EngineSpec(context=256, parallel=2, threads=1, model=str(model)), lora=lora)
    child = Child(listener, path, spawn(listener, spec, state_dir))
    try:
        with child.client() as client:
            yield client
    finally:
        child.end()


def answer(client: httpx.Client) -> Any:
    wait_until_ready(client)
    body = {"prompt": "One two three", "temperature": 0, "max_tokens": 12, "logprobs": 0}
    found = client.post("/v1/completions", json=body).json()
    vector = client.post("/v1/embeddings", json={"input": "One two three"}).json()["data"][0]["embedding"]
    return found["choices"][0]["text"], found["choices"][0]["logprobs"]["token_logprobs"], vector, found


@pytest.mark.engine
def test_an_adapter_changes_what_is_written_and_one_of_scale_nought_does_not(
    built: None, tmp_path: Path, state_dir: Path
) -> None:
    path = str(tiny_adapter(tmp_path / "adapter.gguf"))
    answers = []
    for lora in ((), (Adapter(path, 0),), (Adapter(path, 2),)):
        with serving(tmp_path, state_dir, *lora) as client:
            answers.append(answer(client))
    without, nought, applied = answers
    assert nought[:3] == without[:3]
    assert all(with_it != before for with_it, before in zip(applied[:3], without[:3], strict=True))
    prints = [found[3]["system_fingerprint"] for found in answers]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.engine
def test_an_adapter_of_another_shape_fails_the_load_and_health_says_which(
    built: None, tmp_path: Path, state_dir: Path
) -> None:
    path = tiny_adapter(tmp_path / "adapter.gguf", width=32)
    with serving(tmp_path, state_dir, Adapter(str(path))) as client:
        deadline = time.monotonic() + 120
        while (found := client.get("/health")).status_code == 503 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert found.status_code == 500
    assert "adapter.gguf: llama.cpp cannot apply this adapter" in found.json()["reason"]


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"general.type": "model"}, "adapter.gguf is no LoRA adapter: its header says 'model', 'lora'"),
        ({"adapter.type": "control_vector"}, "is no LoRA adapter"),
        ({"general.architecture": "qwen2"}, "is an adapter for 'qwen2', and the model is 'llama'"),
        ({"adapter.alora.invocation_tokens": [1, 2]}, "activated adapter"),
    ],
)
def test_what_is_no_adapter_for_this_model_is_refused_by_its_header(
    tmp_path: Path, facts: dict[str, Any], sentence: str
) -> None:
    path = tiny_adapter(tmp_path / "adapter.gguf", **facts)
    with pytest.raises(BadModelFile, match=sentence):
        read_adapters([Adapter(str(path))], LLAMA)


def test_an_adapter_must_be_there_and_be_the_one_that_was_named(tmp_path: Path) -> None:
    path = tiny_adapter(tmp_path / "adapter.gguf")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    check_adapters([Adapter(str(path), 1, digest)])
    assert read_adapters([Adapter(str(path))], LLAMA) == read_header(path).size
    with pytest.raises(NoSuchModel, match="not the one that was asked for"):
        check_adapters([Adapter(str(path), 1, "0" * 64)])
    with pytest.raises(NoSuchModel, match="--lora takes a GGUF file"):
        check_adapters([Adapter("/nowhere.gguf")])


def test_other_adapters_or_scales_are_another_model(tmp_path: Path) -> None:
    path = str(tiny_adapter(tmp_path / "adapter.gguf"))
    marks = [mark("f", found) for found in ([], [Adapter(path, 0)], [Adapter(path, 1)], [Adapter(path, 2)])]
    assert marks[0] == marks[1] == "f"
    assert len(set(marks)) == 3


def test_the_command_line_says_what_the_engine_reads() -> None:
    adapters = (Adapter("/a.gguf"), Adapter("/b=1:2.gguf", -0.5, "0" * 64))
    line = command(replace(EngineSpec(), lora=adapters), 3, Path("/state"))[4:]
    assert parse(line).spec.lora == adapters
    assert parse(["--fd", "3", "--lora", "/a.gguf"]).spec.lora == (Adapter("/a.gguf"),)


@pytest.mark.parametrize("words", [["a", "b"], ["a", "101"], ["a", "nan"], ["a", "1", "", "d"]])
def test_an_adapter_that_cannot_be_meant_is_refused(words: list[str]) -> None:
    with pytest.raises(BadOptions, match="--lora takes FILE, a scale from -100 to 100"):
        parse(["--fd", "3", "--lora", *words])
