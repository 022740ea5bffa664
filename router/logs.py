"""Logs: one JSON object a line on standard error. An event and its figures; no field can hold a prompt or a key.

Fields are a closed list, so content cannot slip in by a new one: names come from the policy, reasons from our code.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from typing import Final

import msgspec

FIELDS: Final = frozenset(
    {
        "after_s", "before", "code", "endpoint", "engine", "exit_code", "found", "host", "limit",
        "model", "pid", "port", "reason", "request_id",
        "restarts", "state", "tier", "upstream", "workers",
    }
)  # fmt: skip


class Log:
    """The log of one process; made by its main() and handed down."""

    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, event: str, **fields: str | float | None) -> None:
        """Write one event. TypeError for a field outside the closed list: that is a mistake of ours."""
        unknown = fields.keys() - FIELDS
        if unknown:
            raise TypeError(f"log field not in the closed list: {sorted(unknown)}")
        line = {"time": round(time.time(), 3), "process": self._process, "event": event, **fields}
        with contextlib.suppress(OSError):  # a full disk or a reader that left must not stop what is being told of
            sys.stderr.write(msgspec.json.encode(line).decode() + "\n")
            sys.stderr.flush()


class _Libraries(logging.Handler):
    """What libraries log, without their words: these may quote what a client or an upstream sent."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0] if record.exc_info else None
        kind = f" ({error.__name__})" if error is not None else ""
        self._log("library_warning", reason=f"{record.name}, {record.filename}:{record.lineno}{kind}")


def hear_libraries(log: Log) -> None:
    """From now on whatever goes to Python's `logging` comes out as lines of this log. Once, by main()."""
    logging.getLogger().handlers = [_Libraries(log)]
