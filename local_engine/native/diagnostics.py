"""llama.cpp's own log lines, passed on to Python's logging: warnings and errors only."""

from __future__ import annotations

import ctypes
import logging
import re
from typing import Any

from local_engine.native.model import lib

WARN, ERROR = 3, 4
"""ggml_log_level"""

log = logging.getLogger("local_engine.llama")


def _forward(level: int, text: bytes, _user: ctypes.c_void_p) -> None:
    line = text.decode("utf-8", "replace").rstrip() if text else ""
    if level >= WARN and line and line != ".":
        log.log(logging.ERROR if level == ERROR else logging.WARNING, "%s", line)


def _of_picture(level: int, text: bytes, _user: ctypes.c_void_p) -> None:
    """A picture that cannot be read is its sender's mistake. Which call said so is told, and none of its words."""
    call = _CALL.match(text or b"")
    if level >= WARN and call:
        log.warning("a picture of a request: %s", call[1].decode())


_CALL = re.compile(rb"(mtmd\w{0,60}|clip\w{0,60}): ")
callback: Any = lib.llama_log_callback(_forward)
"""Native code holds this pointer for the life of the process."""
picture_callback: Any = lib.llama_log_callback(_of_picture)
"""The same, for libmtmd once its file is loaded."""


def forward_logs() -> None:
    """llama.cpp never logs prompt text at these levels."""
    lib.llama_log_set(callback, ctypes.c_void_p(0))
