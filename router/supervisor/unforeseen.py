"""What is said of a failure that nobody thought of."""

from __future__ import annotations

import traceback
from pathlib import Path


def described(error: BaseException) -> str:
    """What it is and where it was raised; no text of it, which may quote anything."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    why = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__}{f' ({why})' if why else ''} at {Path(frame.filename).name}:{frame.lineno}"
