"""The service's own directory beside its ledger: the engines' sockets in it, and what becomes of us without it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

BACKLOG: Final = 128
LOST: Final = "its sockets are gone: embedded engines, managed programs and orders are out of reach until a restart"


def made_again(directory: Path) -> str:
    """Whoever cleans up temporary files may have taken it: prompts go out without it all the same. What is lost."""
    if directory.exists():
        return ""
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.mkdir(mode=0o700)
    return LOST


def engine_socket(directory: Path, name: str) -> socket.socket:
    """The engine's listener, owned by the supervisor: requests wait in its backlog while an engine starts again."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(_short_path(directory, f"{name}.sock"))
    sock.listen(BACKLOG)
    return sock


def _short_path(directory: Path, name: str) -> str:
    """A path of any length within sockaddr_un's 108 bytes, by way of a descriptor of its directory."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{descriptor}/{name}"
