"""Models in several files: named by the first, whole or refused, served like any other."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from local_engine.fetch import Hub, weights
from local_engine.gguf import BadModelFile, read_header, read_model
from local_engine.launch import EngineSpec
from local_engine.model_file import NoSuchModel, fingerprint, locate, parts_of, verify
from tests.fakes.hub import REPO, fake_hub, gguf
from tests.local_engine.conftest import Child, listen, spawn, wait_until_ready
from tests.local_engine.made import tiny_model, tiny_parts


@pytest.mark.engine
def test_a_model_in_parts_answers_as_it_does_in_one_file(built: None, tmp_path: Path, state_dir: Path) -> None:
    answers = []
    for name, model in (("one", tiny_model(tmp_path / "tiny.gguf")), ("parts", tiny_parts(tmp_path)[0])):
        folder = tmp_path / name
        folder.mkdir()
        listener, path = listen(folder)
        child = Child(listener, path, spawn(listener, EngineSpec(model=str(model), context=256, threads=1), state_dir))
        try:
            with child.client() as client:
                wait_until_ready(client)
                body = {"prompt": "One two", "temperature": 0, "max_tokens": 8}
                answers.append(client.post("/v1/completions", json=body).json()["choices"])
        finally:
            child.end()
    assert answers[0] == answers[1]


def test_the_parts_are_counted_together(tmp_path: Path) -> None:
    paths = tiny_parts(tmp_path)
    assert locate(str(paths[0])) == paths[0]
    assert parts_of(paths[0]) == paths
    header, whole = read_model(paths), read_header(tiny_model(tmp_path / "tiny.gguf"))
    assert (header.tensors, header.number("block_count")) == (whole.tensors, 1)
    assert header.size == sum(path.stat().st_size for path in paths)
    before = fingerprint(paths[0])
    paths[2].write_bytes(paths[2].read_bytes() + b"x")
    assert fingerprint(paths[0]) != before


def test_every_part_must_be_there_and_be_the_one_it_says(tmp_path: Path) -> None:
    paths = tiny_parts(tmp_path)
    with pytest.raises(NoSuchModel, match=r"is part 2 of 3: name the first one, tiny-00001-of-00003\.gguf"):
        locate(str(paths[1]))
    kept = paths[1].read_bytes()
    paths[1].write_bytes(paths[2].read_bytes())
    with pytest.raises(BadModelFile, match=r"tiny-00002-of-00003\.gguf says it is part 2 of 3, counted from 0"):
        read_model(paths)
    paths[1].write_bytes(b"PK" + kept)
    with pytest.raises(NoSuchModel, match=r"tiny-00002-of-00003\.gguf: not a GGUF file"):
        locate(str(paths[0]))
    paths[1].unlink()
    with pytest.raises(NoSuchModel, match=r"tiny-00002-of-00003\.gguf: No such file"):
        locate(str(paths[0]))


def test_each_part_is_held_to_a_digest_of_its_own(tmp_path: Path) -> None:
    paths = tiny_parts(tmp_path)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    verify(paths[0], "+".join(digests))
    with pytest.raises(NoSuchModel, match="it has 3 files, and 1 digests"):
        verify(paths[0], digests[0])
    with pytest.raises(NoSuchModel, match=r"tiny-00003-of-00003\.gguf: its SHA-256 is"):
        verify(paths[0], "+".join([*digests[:2], digests[0]]))


def test_all_parts_are_pulled_and_pinned(tmp_path: Path) -> None:
    parts = [gguf(100 * number) for number in (1, 2)]
    names = [f"tiny-0000{number}-of-00002.gguf" for number in (1, 2)]
    with fake_hub(gguf()) as hub:
        hub.others = dict(zip(names, parts, strict=True))
        to = Hub((hub.url, hub.cdn_url), tmp_path / "models")
        path = weights(f"hub:{REPO}:{names[0]}", "", to)()
        assert [part.read_bytes() for part in parts_of(path)] == parts
        digests = [hashlib.sha256(part).hexdigest() for part in parts]
        assert weights(f"hub:{REPO}:{names[0]}", "+".join(digests), to)() == path
        with pytest.raises(ValueError, match="has 2 files, and 1 digests"):
            weights(f"hub:{REPO}:{names[0]}", digests[0], to)
        with pytest.raises(ValueError, match="name the first one"):
            weights(f"hub:{REPO}:{names[1]}", "", to)
