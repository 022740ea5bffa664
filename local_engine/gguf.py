"""A GGUF file's header, read with bounds on everything before native code parses it.

A model file is foreign input, and llama.cpp's parser is C++. Here every count, length and offset is checked against
the file's size, so a header that lies is refused with a sentence. Layout: the GGUF specification, versions 2 and 3.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

MAGIC = b"GGUF"
MAX_FACTS = 1 << 16
MAX_TENSORS = 1 << 17
MAX_TEXT = 1 << 24
KEPT_ARRAY = 4096
"""Longer arrays (the vocabulary) are checked and skipped."""

STRING, ARRAY = 8, 9
RANK = 4
"""LLAMA_POOLING_TYPE_RANK"""
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

Value = int | float | bool | str | list["int | float | bool | str"]


class BadModelFile(Exception):
    """The file is not a whole, plausible GGUF model; the sentence says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class Header:
    """`facts` without the vocabulary; `size` of the file in bytes."""

    version: int
    tensors: int
    facts: dict[str, Value]
    size: int

    @property
    def ranks(self) -> bool:
        """Whether the model scores texts for a question, with a ranking head, instead of writing any."""
        return self.number("pooling_type") == RANK

    @property
    def causal(self) -> bool:
        """Whether a token sees those before it only; if not, a text must be read in one piece."""
        return bool(self.number("attention.causal", 1))

    def number(self, name: str, default: int = 0) -> int:
        """A fact of this architecture, e.g. `block_count`."""
        found = self.facts.get(f"{self.facts.get('general.architecture')}.{name}", default)
        return int(found) if isinstance(found, int | float) else default


def read_header(path: Path) -> Header:
    """Raises BadModelFile, and OSError when the file cannot be read."""
    with path.open("rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(data, path.name).header()
        except ValueError:  # an empty file cannot be mapped
            raise BadModelFile(f"{path.name} is empty") from None


def read_model(paths: Sequence[Path]) -> Header:
    """The header of a model's first file, with the bytes of all its files; each part's header is read and bounded."""
    first, *others = (read_header(path) for path in paths)
    for number, (path, header) in enumerate(zip(paths, (first, *others), strict=True)):
        found = (header.facts.get("split.no", 0), header.facts.get("split.count", 1) or 1)
        if found != (number, len(paths)):
            raise BadModelFile(f"{path.name} says it is part {found[0]} of {found[1]}, counted from 0: its name lies")
    tensors, size = (sum(getattr(one, name) for one in (first, *others)) for name in ("tensors", "size"))
    return replace(first, tensors=tensors, size=size)


class _Reader:
    """A cursor that never leaves the file."""

    def __init__(self, data: mmap.mmap, name: str) -> None:
        self._data, self._name, self._at = data, name, 0
        self._size = len(data)

    def header(self) -> Header:
        if self._take(4) != MAGIC:
            raise self._wrong("is not a GGUF file")
        version = int(self._scalar("I"))
        if version not in (2, 3):
            raise self._wrong(f"is GGUF version {version}; 2 and 3 are read")
        tensors = self._count(MAX_TENSORS, "tensors")
        facts: dict[str, Value] = {}
        for _ in range(self._count(MAX_FACTS, "facts")):
            key = self._text()
            if (value := self._value(int(self._scalar("I")))) is not None:
                facts[key] = value
        self._check_tensors(tensors, facts)
        return Header(version, tensors, facts, self._size)

    def _check_tensors(self, tensors: int, facts: dict[str, Value]) -> None:
        offsets = []
        for _ in range(tensors):
            name = self._text()
            dimensions = int(self._scalar("I"))
            if dimensions > 8:
                raise self._wrong(f"gives the tensor {name[:80]!r} {dimensions} dimensions")
            self._take(8 * dimensions + 4)
            offsets.append(int(self._scalar("Q")))
        alignment = facts.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise self._wrong(f"has alignment {alignment!r}")
        start = -(-self._at // alignment) * alignment
        if start + max(offsets, default=0) > self._size:
            raise self._wrong(f"is cut off: its weights begin beyond its {self._size} bytes")

    def _value(self, kind: int) -> Value | None:
        """None for an array that is too long to keep."""
        if kind == ARRAY:
            return self._array()
        return self._single(kind)

    def _single(self, kind: int) -> int | float | bool | str:
        if kind == STRING:
            return self._text()
        if kind not in SCALARS:
            raise self._wrong(f"holds a value of unknown type {kind}")
        return self._scalar(SCALARS[kind])

    def _array(self) -> Value | None:
        kind = int(self._scalar("I"))
        width = struct.calcsize(SCALARS[kind]) if kind in SCALARS else 8
        count = self._count((self._size - self._at) // width, "array elements")
        if count > KEPT_ARRAY and kind in SCALARS:
            self._take(count * width)
            return None
        if count > KEPT_ARRAY and kind == STRING:
            self._skip_texts(count)
            return None
        return [self._single(kind) for _ in range(count)]

    def _skip_texts(self, count: int) -> None:
        """A vocabulary: a hundred thousand of them, so without a call for each."""
        at, length = self._at, struct.Struct("<Q")
        try:
            for _ in range(count):
                (size,) = length.unpack_from(self._data, at)
                if size > MAX_TEXT:
                    raise self._wrong(f"claims {size} bytes of text")
                at += 8 + size
        except struct.error:
            at = self._size + 8
        if at > self._size:
            raise self._wrong(f"is cut off: byte {at} is needed, it has {self._size}")
        self._at = at

    def _text(self) -> str:
        return self._take(self._count(MAX_TEXT, "bytes of text")).decode("utf-8", "replace")

    def _count(self, most: int, what: str) -> int:
        count = int(self._scalar("Q"))
        if count > most:
            raise self._wrong(f"claims {count} {what}")
        return count

    def _scalar(self, code: str) -> int | float | bool:
        value: int | float | bool = struct.unpack("<" + code, self._take(struct.calcsize(code)))[0]
        return value

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end > self._size:
            raise self._wrong(f"is cut off: byte {end} is needed, it has {self._size}")
        found = self._data[self._at : end]
        self._at = end
        return found

    def _wrong(self, what: str) -> BadModelFile:
        return BadModelFile(f"{self._name} {what} (at byte {self._at})")
