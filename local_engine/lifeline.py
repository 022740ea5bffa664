"""A child that must not outlive the process that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2)"""


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when the parent's starting thread ends (Linux only).

    Exits at once if the parent is gone already: the request to the kernel would come too late.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("local_engine: the process that started this one is gone")
