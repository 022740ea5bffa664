"""What a worker knows of the processes around it: told by the supervisor, read by /health."""

from __future__ import annotations

from msgspec import Struct

from router import __version__
from router.channel.control import ProcessState


class View(Struct):
    """Replaced row set by row set; nothing is decided by it."""

    processes: tuple[ProcessState, ...] = ()
    reload: dict[str, object] | None = None  # how the last one ended
    version: str = __version__
