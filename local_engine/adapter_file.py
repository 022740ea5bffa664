"""A LoRA adapter's file, read and bounded before llama.cpp parses it, as a model's is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from local_engine.gguf import BadModelFile, Header, read_header
from local_engine.launch import Adapter
from local_engine.model_file import locate, verify

ACTIVATED = "adapter.alora.invocation_tokens"


def check_adapters(adapters: Sequence[Adapter]) -> None:
    """Each file is there and is the one that was asked for; what it holds is judged beside its model. NoSuchModel."""
    for adapter in adapters:
        verify(locate(adapter.path, "--lora takes a GGUF file"), adapter.sha256)


def read_adapters(adapters: Sequence[Adapter], model: Header) -> int:
    """Bytes of all adapters together. BadModelFile for one that does not belong to this model or cannot be applied."""
    return sum(_read(Path(adapter.path), model).size for adapter in adapters)


def _read(path: Path, model: Header) -> Header:
    header = read_header(path)
    kinds = (header.facts.get("general.type"), header.facts.get("adapter.type"))
    if kinds != ("adapter", "lora"):
        raise BadModelFile(f"{path.name} is no LoRA adapter: its header says {kinds[0]!r}, {kinds[1]!r}")
    wanted, found = model.facts.get("general.architecture"), header.facts.get("general.architecture")
    if found != wanted:
        raise BadModelFile(f"{path.name} is an adapter for {found!r}, and the model is {wanted!r}")
    if ACTIVATED in header.facts:
        raise BadModelFile(f"{path.name} is an activated adapter (aLoRA), which begins in mid-prompt: not served here")
    return header


def mark(fingerprint: str, adapters: Sequence[Adapter]) -> str:
    """A model's fingerprint with its adapters': other adapters or scales are another model. Scale 0 is no adapter."""
    applied = [adapter for adapter in adapters if adapter.scale]
    if not applied:
        return fingerprint
    digest = hashlib.sha256(fingerprint.encode())
    for adapter in applied:
        with Path(adapter.path).open("rb") as file:
            digest.update(f"{hashlib.file_digest(file, 'sha256').hexdigest()} {adapter.scale!r}".encode())
    return digest.hexdigest()
