"""Where a model's weights are, and a fingerprint that tells two files apart without reading all of them."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

MAGIC = b"GGUF"
HEAD = 1 << 20


class NoSuchModel(Exception):
    """The model cannot be found; the sentence says where it was looked for and what to do."""


def locate(model: str, advice: str = "--model takes a GGUF file or package:NAME") -> Path:
    """The GGUF file that `--model` names: a path, or `package:NAME`."""
    path = _in_package(model.removeprefix("package:")) if model.startswith("package:") else Path(model)
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
    except OSError as error:
        raise NoSuchModel(f"{path}: {error.strerror}; {advice}") from error
    if magic != MAGIC:
        raise NoSuchModel(f"{path}: not a GGUF file (it starts with {magic!r})")
    return path


def verify(path: Path, sha256: str) -> None:
    """NoSuchModel unless the whole file has this SHA-256 (hex); "" asks for nothing."""
    if not sha256:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise NoSuchModel(f"{path}: its SHA-256 is {found}, not the one that was asked for: it is another file")


def fingerprint(path: Path) -> str:
    """Hash of the file's size and its first MiB (header, vocabulary), fast enough for every start."""
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(HEAD))
    digest.update(str(path.stat().st_size).encode())
    return digest.hexdigest()


def _in_package(name: str) -> Path:
    """Found without importing the package: a model file is data."""
    spec = find_spec(name.replace("-", "_").split(".", maxsplit=1)[0])
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise NoSuchModel(f"the package {name} is not installed; `make` installs the embedded model")
    found = sorted(Path(folders[0]).glob("*.gguf"))
    if len(found) != 1:
        raise NoSuchModel(f"the package {name} holds {len(found)} GGUF files; name one by its path")
    return found[0]
