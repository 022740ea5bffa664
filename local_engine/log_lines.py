"""Log lines as the rest of the service writes them: one JSON object a line on standard error."""

from __future__ import annotations

import json
import logging
import sys
import traceback


class JsonLines(logging.Formatter):
    """`time` (UNIX, seconds), `process`, `event`: `engine` for all of ours, `level`, `text`; `trace` of a mistake: its
    places and its kind. What it says itself may quote a prompt.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": round(record.created, 3),
            "process": self._process,
            "event": "engine",
            "level": record.levelname.lower(),
            "text": record.getMessage(),
        }
        kind, _, places = record.exc_info or (None, None, None)
        if kind is not None:
            line["trace"] = "".join(traceback.format_tb(places)) + kind.__name__
        return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


def start_logging(process: str, level: str) -> None:
    """Once, by main(). The HTTP server's own talk of starting and ending is left out: ours says it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
