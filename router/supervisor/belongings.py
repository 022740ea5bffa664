"""Which files a managed program is shown without being told: its own, and those that its command names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

SHALLOW: Final = 2  # a directory of this depth or less (/opt, /home) holds more than one program
_PIECE: Final = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")  # of a model in several files (llama.cpp's gguf-split)


def readable(command: Sequence[str]) -> list[str]:
    """Where the program lies, with its prefix if that is one of its own, and what its arguments name."""
    found = [*_installation(Path(command[0]))]
    for argument in command[1:]:
        path = Path(argument.rpartition("=")[2])
        if path.is_absolute() and path.exists():
            found += _data(path)
    return [str(path) for path in dict.fromkeys(found) if len(path.parts) > 1]


def _installation(program: Path) -> Iterator[Path]:
    """`PREFIX/bin/NAME`: the prefix; else the directory. A link's target likewise, and the Python under a venv."""
    for path in dict.fromkeys((program, program.resolve())):
        prefix = path.parent.parent
        own = path.parent.name == "bin" and len(prefix.parts) > SHALLOW
        yield path
        yield prefix if own else path.parent
        if own and (prefix / "pyvenv.cfg").is_file():
            yield from _python_under(prefix / "pyvenv.cfg")


def _python_under(settings: Path) -> Iterator[Path]:
    for line in settings.read_text("utf-8", "replace").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "home" and len(Path(value.strip()).parent.parts) > SHALLOW:
            yield Path(value.strip()).resolve().parent


def _data(path: Path) -> Iterator[Path]:
    """A file, or a directory with all in it; of a split model all pieces, of a Hub cache the blobs behind the links."""
    yield path
    yield path.resolve()
    if (piece := _PIECE.search(path.name)) is not None:
        for other in path.parent.glob(f"{path.name[: piece.start()]}-*-of-{piece[1]}.gguf"):
            yield from (other, other.resolve())
    if "snapshots" in path.parts:
        yield Path(*path.parts[: path.parts.index("snapshots")])
