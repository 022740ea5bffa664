"""Models in several files, `NAME-00001-of-00003.gguf` and so on: the first one names them all."""

from __future__ import annotations

import re
from typing import Final

_PART: Final = re.compile(r"(?P<stem>.*)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf", re.DOTALL)
MOST_PARTS: Final = 256


class NotFirst(ValueError):
    """The name is that of another part than the first, or of an impossible one; the sentence says what to write."""


def parts(name: str) -> tuple[str, ...]:
    """The names of all files of a model, in their order: of one in a single file its own. Raises NotFirst."""
    found = _PART.fullmatch(name)
    if found is None:
        return (name,)
    number, count = int(found["number"]), int(found["count"])
    if not 1 <= number <= count <= MOST_PARTS:
        raise NotFirst(f"'{name[-200:]}' is part {number} of {count}, which cannot be")
    if number != 1:
        first = f"{found['stem']}-00001-of-{found['count']}.gguf"
        raise NotFirst(f"'{name[-200:]}' is part {number} of {count}: name the first one, {first[-200:]}")
    return tuple(f"{found['stem']}-{part:05}-of-{found['count']}.gguf" for part in range(1, count + 1))
