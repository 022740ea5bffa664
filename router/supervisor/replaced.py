"""Whether the program's files are still those that this service was started from."""

from __future__ import annotations

from pathlib import Path

import router
from router.logs import Log

FILE = Path(router.__file__)  # every installer writes it anew
WHY = (
    f"the files of ringfence {router.__version__} were replaced while it runs: this process is of what is there now, "
    "those that run already are not; requests may fail until the service is restarted"
)


class Files:
    """As they were at the start."""

    def __init__(self, log: Log, file: Path = FILE) -> None:
        self._log = log
        self._file = file
        self._known = _signature(file)

    def look(self, process: str) -> None:
        """A process was started by what is there now: if that is something else, the log says so."""
        if _signature(self._file) != self._known:
            self._log("program_replaced", state=process, reason=WHY)


def _signature(file: Path) -> tuple[int, int] | None:
    """What a new file has of its own; None where there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
