"""What a picture claims to be, checked before native code decodes it: PNG and JPEG, within limits of size and shape.

A few hundred bytes can claim, or inflate to, gigabytes. So the dimensions are read here (PNG: W3C's specification,
11.2.1; JPEG: ITU-T T.81, B.2.2), by parsers stricter than the decoder's, which then meets what was read here; and what
a PNG inflates to is counted against what its dimensions need.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

MOST_PIXELS = 1 << 24
LONGEST_SIDE = 16_384
STEEPEST = 64
"""Times that one side may be the other: scaled down, a thinner picture has no pixels left."""

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By a PNG's colour type."""
PASSES = 8
"""Rows of an interlaced PNG are at most twice as many and each begins with a byte: this many bytes a row are plenty."""
CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
PIECE = 1 << 20

END = b"\xff\xd9"
SMALLEST_PLANE = 1100
"""Bytes: see local_engine.native.heap."""

FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive: what can be decoded. The others between C0 and CF are no frames, or refused."""
OTHER_FRAMES = frozenset(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC}


class BadPicture(ValueError):
    """The picture cannot be read; the sentence says why."""


def check(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG or JPEG that may be decoded."""
    if data.startswith(PNG):
        return _png(data)
    if data.startswith(JPEG):
        return _jpeg(data)
    raise BadPicture("it is neither a PNG nor a JPEG")


def _bounded(width: int, height: int) -> tuple[int, int]:
    if not width or not height:
        raise BadPicture("it says that it has no pixels")
    if max(width, height) > LONGEST_SIDE or width * height > MOST_PIXELS:
        most = f"{MOST_PIXELS} pixels, {LONGEST_SIDE} on a side"
        raise BadPicture(f"it has {width} x {height} pixels; at most {most} are read: send it smaller")
    if max(width, height) > STEEPEST * min(width, height):
        raise BadPicture(f"it has {width} x {height} pixels; one side may be at most {STEEPEST} times the other")
    return width, height


# ── PNG ──


def _png(data: bytes) -> tuple[int, int]:
    chunks = _chunks(data)
    kind, head = next(chunks, (b"", b""))
    if kind != b"IHDR" or len(head) != 13:
        raise BadPicture("the PNG does not begin with its header")
    width, height, depth, colour = struct.unpack_from(">IIBB", head)
    if depth not in (1, 2, 4, 8, 16) or colour not in CHANNELS:
        raise BadPicture("the PNG has no known form of pixels")
    size = _bounded(width, height)
    row = (width * CHANNELS[colour] * depth + 7) // 8 + PASSES
    _inflate(chunks, 2 * PASSES + row * (height + PASSES))
    return size


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each; the picture must have its end."""
    at = len(PNG)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if at + 12 + size > len(data):
            break
        if not kind[0] & 0x20 and kind not in CRITICAL:
            raise BadPicture(f"the PNG has a part that is not of PNG: {kind!r}")
        if kind == b"IEND":
            return
        yield kind, data[at + 8 : at + 8 + size]
        at += 12 + size
    raise BadPicture("the PNG is cut off")


def _inflate(chunks: Iterator[tuple[bytes, bytes]], most: int) -> None:
    """Count what the pixels inflate to, a piece at a time."""
    inflater, found = zlib.decompressobj(), 0
    try:
        for kind, content in chunks:
            waiting = content if kind == b"IDAT" else b""
            while waiting and not inflater.eof:
                found += len(inflater.decompress(waiting, PIECE))
                waiting = inflater.unconsumed_tail
                if found > most:
                    raise BadPicture("the PNG inflates to more than its pixels need")
    except zlib.error:
        raise BadPicture("the PNG's pixels cannot be inflated") from None
    if not inflater.eof:
        raise BadPicture("the PNG's pixels are cut off")


# ── JPEG ──


def _jpeg(data: bytes) -> tuple[int, int]:
    if END not in data:
        raise BadPicture("the JPEG is cut off")
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise BadPicture("the JPEG has bytes between its segments")
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes may stand before any marker
            at += 1
            continue
        (size,) = struct.unpack_from(">H", data, at + 2)
        if marker in FRAMES:
            return _frame(data[at + 4 : at + 2 + size])
        if marker in OTHER_FRAMES or not 0xC0 <= marker < 0xFF or 0xD0 <= marker <= 0xDA:
            raise BadPicture(f"the JPEG has a segment FF{marker:02X} before its frame, which is not read")
        at += 2 + size
    raise BadPicture("the JPEG is cut off")


def _frame(segment: bytes) -> tuple[int, int]:
    if len(segment) < 6:
        raise BadPicture("the JPEG's frame is cut off")
    _, height, width, colours = struct.unpack_from(">BHHB", segment)
    if colours not in (1, 3, 4):
        raise BadPicture(f"the JPEG has {colours} colours")
    size = _bounded(width, height)
    if min(_planes(width, height, segment[7 : 6 + 3 * colours : 3])) < SMALLEST_PLANE:
        raise BadPicture("the JPEG is too small to be decoded safely: send it as PNG")
    return size


def _planes(width: int, height: int, factors: bytes) -> Iterator[int]:
    """Bytes of each colour, by its sampling factors (T.81, A.1.1)."""
    across, down = [factor >> 4 for factor in factors], [factor & 15 for factor in factors]
    if not (factors and all(1 <= factor <= 4 for factor in (*across, *down))):
        raise BadPicture("the JPEG has no known form of sampling")
    columns, rows = -(-width // (8 * max(across))), -(-height // (8 * max(down)))
    return (columns * one * 8 * rows * other * 8 for one, other in zip(across, down, strict=True))
