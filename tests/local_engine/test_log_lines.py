"""The engine's log has the form of every other process's."""

from __future__ import annotations

import json
import logging
import sys

from local_engine.log_lines import JsonLines

QUOTE = "it quotes a prompt"


def line_of(level: int, message: str, *arguments: object, failed: bool = False) -> dict[str, object]:
    try:
        raise ZeroDivisionError(QUOTE) if failed else SystemExit
    except ZeroDivisionError:
        error = sys.exc_info()
    except SystemExit:
        error = None
    record = logging.LogRecord("local_engine", level, __file__, 1, message, arguments, error)
    text = JsonLines("engine-small").format(record)
    assert "\n" not in text
    line: dict[str, object] = json.loads(text)
    return line


def test_a_line_is_one_object_with_the_fields_that_all_have() -> None:
    line = line_of(logging.INFO, 'ready in %.1f s\n"%s"', 0.92, "ü")
    assert isinstance(line.pop("time"), float)
    assert line == {"process": "engine-small", "event": "engine", "level": "info", "text": 'ready in 0.9 s\n"ü"'}


def test_a_mistake_keeps_its_trace_in_the_line_and_not_what_it_says() -> None:
    """An error's text may quote a prompt."""
    line = line_of(logging.ERROR, "the engine thread failed", failed=True)
    assert str(line["trace"]).endswith("ZeroDivisionError")
    assert "line_of" in str(line["trace"])
    assert "it quotes" not in json.dumps(line)
