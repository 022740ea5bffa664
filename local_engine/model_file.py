"""Where a model's weights are, and a fingerprint that tells two files apart without reading all of them."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from local_engine.split import NotFirst, parts

MAGIC = b"GGUF"
HEAD = 1 << 20
JOINT = "+"
"""Between the digests of a model's parts."""


class NoSuchModel(Exception):
    """The model cannot be found; the sentence says where it was looked for and what to do."""


def locate(model: str, advice: str = "--model takes a GGUF file or package:NAME") -> Path:
    """The GGUF file that `--model` names: a path, or `package:NAME`."""
    path = _in_package(model.removeprefix("package:")) if model.startswith("package:") else Path(model)
    for part in parts_of(path):
        if part.exists() and not part.is_file():  # a pipe would be waited for, a device read without end
            raise NoSuchModel(f"{part}: not a regular file; {advice}")
        try:
            with part.open("rb") as file:
                magic = file.read(len(MAGIC))
        except OSError as error:
            raise NoSuchModel(f"{part}: {error.strerror}; {advice}") from error
        if magic != MAGIC:
            raise NoSuchModel(f"{part}: not a GGUF file (it starts with {magic!r})")
    return path


def parts_of(path: Path) -> list[Path]:
    """All files of a model, of which this is the first. Raises NoSuchModel for another part."""
    try:
        return [path.parent / name for name in parts(path.name)]
    except NotFirst as error:
        raise NoSuchModel(str(error)) from None


def verify(path: Path, sha256: str) -> None:
    """NoSuchModel unless the whole file has this SHA-256 (hex); "" asks for nothing.

    Of a model in parts the digests of all stand in their order, joined by `+`.
    """
    if not sha256:
        return
    files, wanted = parts_of(path), sha256.split(JOINT)
    if len(files) != len(wanted):
        raise NoSuchModel(f"{path}: it has {len(files)} files, and {len(wanted)} digests are given for them")
    for part, digest in zip(files, wanted, strict=True):
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != digest:
            raise NoSuchModel(f"{part}: its SHA-256 is {found}, not the one that was asked for: it is another file")


def fingerprint(path: Path) -> str:
    """Hash of the file's size and its first MiB (header, vocabulary), fast enough for every start; the sizes of all
    its parts, where there are several.
    """
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(HEAD))
    for part in parts_of(path):
        digest.update(str(part.stat().st_size).encode())
    return digest.hexdigest()


def joined(first: str, second: str) -> str:
    """One fingerprint of two files that are used together."""
    return hashlib.sha256(f"{first} {second}".encode()).hexdigest()


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
