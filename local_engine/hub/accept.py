"""What has been fetched becomes a model only when it is what was promised: size, SHA-256, header, chat template."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from local_engine.gguf import read_header
from local_engine.hub.pins import Pin
from local_engine.hub.transport import PullFailed
from local_engine.text.template import TemplateRefusal
from local_engine.text.trial import try_template

CHUNK: Final = 1 << 20
Progress = Callable[[str, int, int], None]
"""(stage, bytes done, bytes in all)"""


def accept(part: Path, path: Path, size: int, sha256: str, progress: Progress) -> Pin:
    """Check `part` and put it in place, durably. Raises PullFailed or BadModelFile."""
    if (found := part.stat().st_size) != size:
        raise PullFailed(f"it has {found} bytes, and {size} were promised")
    pin = check_whole(part, sha256, progress)
    check_loadable(part)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return pin


def check_whole(path: Path, sha256: str, progress: Progress) -> Pin:
    """Hash a file; PullFailed when its SHA-256 is not the one given ("" accepts any)."""
    size = path.stat().st_size
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress("check", done, size)
    found = digest.hexdigest()
    if sha256 and found != sha256:
        raise PullFailed(f"{path.name} has SHA-256 {found}, and {sha256} was promised: it is another file")
    return Pin(found, size)


def check_loadable(path: Path) -> None:
    """A header that is whole and bounded, and a template that the sandbox can render. BadModelFile, PullFailed."""
    template = read_header(path).facts.get("tokenizer.chat_template")
    if not isinstance(template, str):
        return
    try:
        try_template(template)
    except TemplateRefusal as error:
        raise PullFailed(f"its chat template is refused: {error}") from None
