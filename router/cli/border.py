"""Where the program meets a terminal: whatever becomes of its streams, an exit code that says so, never a traceback."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Final

CANNOT: Final = 2
CANNOT_REVIEW: Final = 3  # of `ringfence audit`, where 1 and 2 are verdicts
INTERRUPTED: Final = 130


@contextlib.contextmanager
def border() -> Iterator[None]:
    """Runs the program; what it printed is out when the block ends, or SystemExit says that it is not.

    A full disk or a reader that has gone is no verdict: it must not look like "tampered" or "refused".
    """
    _take_every_character()
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # closed before we were started
                sys.stdout.flush()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except OSError as error:
        _say(error)
        _let_go()
        raise SystemExit(CANNOT_REVIEW if sys.argv[1:2] == ["audit"] else CANNOT) from None


def _take_every_character() -> None:
    """What a terminal or locale cannot show (`LC_ALL=POSIX`) is written as an escape, as on standard error."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _say(error: OSError) -> None:
    """A reader that has gone wants to hear nothing more."""
    if isinstance(error, BrokenPipeError) or sys.stderr is None:
        return
    place = f"{error.filename}: " if isinstance(error.filename, str) else ""
    # Only the working directory has no name to tell.
    gone = " (is the working directory still there?)" if isinstance(error, FileNotFoundError) and not place else ""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"ringfence: {place}{error.strerror or error}{gone}\n")


def _let_go() -> None:
    """What still lies in our buffers goes nowhere: Python would fail once more when it ends."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
