"""A process of one's own, without a new program: for fakes that must be somebody's child."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def forked(act: Callable[[], None]) -> int:
    """Its pid; it ends after `act`, whatever that raises, and never returns into the caller's code."""
    pid = os.fork()
    if not pid:
        try:
            act()
        finally:
            sys.stdout.flush()
            os._exit(0)
    return pid
