"""Pictures made here: PNGs by hand, and hostile ones."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

JPEG = base64.b64decode(
    "/9j/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQH/wAAL"
    "CAAwADABAREA/8QAFQABAQAAAAAAAAAAAAAAAAAAAAn/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oACAEBAAA/AKWAmmClgJpgpYCa"
    "YKWAmmClgJpgpYCaYP/Z"
)
"""48 x 48 pixels, squares of grey, written bit by bit."""


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int = 96, height: int = 96, seed: int = 1, pixels: bytes | None = None, **head: int) -> bytes:
    """Noise in colour. `pixels` replaces what is compressed; `head` the depth and colour type."""
    if pixels is None:
        noise = np.random.default_rng(seed).integers(0, 256, (height, width * 3), np.uint8)
        pixels = b"".join(b"\0" + row.tobytes() for row in noise)
    form = struct.pack(">IIBBBBB", width, height, head.get("depth", 8), head.get("colour", 2), 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", form) + body + chunk(b"IEND", b"")


def data_url(picture: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def shown(*pictures: bytes | str, text: str = "What is it?") -> list[dict[str, object]]:
    """One message of the user with text before, between and after the pictures (bytes, or URLs as they are)."""
    parts: list[dict[str, object]] = [{"type": "text", "text": "Look: "}]
    for picture in pictures:
        url = picture if isinstance(picture, str) else data_url(picture)
        parts += [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": " and "}]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]
