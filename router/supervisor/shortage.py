"""What is raised where the system has no room for another process or thread. It passes: who meets it tries again."""

from __future__ import annotations

from typing import Final

SHORTAGE: Final = (OSError, RuntimeError)  # RuntimeError: a thread; Python before 3.12 waits in one for a process's end


def told(error: Exception) -> str:
    """Why, in words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
