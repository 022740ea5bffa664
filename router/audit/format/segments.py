"""Reading segments: names, safe opening, lines. Nothing here trusts what it reads."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from router.audit.format import layout
from router.audit.format.record import MOST_LINE_BYTES

CHUNK: Final = 64 * 1024


class SegmentError(ValueError):
    """A segment is not an ordinary file, or holds a line longer than any record."""


class EndlessLineError(SegmentError):
    """A line is longer than any record."""


def open_segment(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of an ordinary file with one name: no link, no FIFO, no device put in a segment's place."""
    return _open_ordinary(path, flags | os.O_NOFOLLOW, most_names=1)


def _open_ordinary(path: Path, flags: int, most_names: float) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > most_names:
        os.close(descriptor)
        raise SegmentError(f"{path.name} is not an ordinary file with one name")
    return descriptor


def read_small(path: Path, most: int = 65_536, *, links: bool = False) -> bytes:
    """A small file of a directory that we do not trust: no pipe that never ends, no more than `most` bytes, and unless
    `links` says that they are for whoever owns the directory to make, no link.
    """
    descriptor = _open_ordinary(path, os.O_RDONLY, math.inf) if links else open_segment(path)
    try:
        data = b""
        while len(data) <= most and (more := os.read(descriptor, most + 1 - len(data))):
            data += more
    finally:
        os.close(descriptor)
    if len(data) > most:
        raise SegmentError(f"{path.name} is larger than {most} bytes")
    return data


def list_segments(directory: Path) -> list[tuple[int, Path]]:
    """First index and path of every segment, in order."""
    found = [(layout.segment_first(path.name), path) for path in (directory / layout.SEGMENTS).iterdir()]
    return sorted((first, path) for first, path in found if first is not None)


def read_blocks(descriptor: int) -> Iterator[tuple[list[bytes], bytes]]:
    """Lines without their line feeds, some hundred at a time, and the line feed they had: the last line may lack it.

    In bounded memory: SegmentError on an endless line.
    """
    rest = b""
    while chunk := os.read(descriptor, CHUNK):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        if lines:
            yield lines, b"\n"
        if len(rest) > MOST_LINE_BYTES:
            raise EndlessLineError(f"a line is longer than {MOST_LINE_BYTES} bytes")
    if rest:
        yield [rest], b""


def segment_blocks(path: Path) -> Iterator[tuple[list[bytes], bytes]]:
    """The blocks of one file, which is closed when they are exhausted."""
    descriptor = open_segment(path)
    try:
        yield from read_blocks(descriptor)
    finally:
        os.close(descriptor)


def read_lines(descriptor: int) -> Iterator[bytes]:
    """Lines with their line feeds."""
    for lines, ending in read_blocks(descriptor):
        for line in lines:
            yield line + ending


def segment_lines(path: Path) -> Iterator[bytes]:
    """The lines of one file, with their line feeds."""
    for lines, ending in segment_blocks(path):
        for line in lines:
            yield line + ending
