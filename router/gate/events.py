"""Whole server-sent events out of arbitrary pieces (WHATWG HTML, "9.2.6 Interpreting an event stream").

Clients in the field split an answer at reads, not at blank lines: an event cut in two is lost there, silently.
So only whole events travel on, each `data: ` with its one space.
"""

from __future__ import annotations

import re
from typing import Final

LARGEST_EVENT = 4 * 1024 * 1024
_SPEAKS: Final = 64  # bytes that an unfinished event is judged by: whether it is more than a comment
_NO_SPACE = re.compile(rb"^data:(?! )", re.MULTILINE)
DONE = b"\ndata: [DONE]\n"
_LAST: Final = DONE[1:]
_CR: Final = 13
_LF: Final = 10


class EventTooLarge(Exception):
    """An upstream sends an event that never ends."""


class EventSplitter:
    """Feed bytes, get back the whole events among them; the rest waits."""

    __slots__ = ("_cr", "_rest", "done", "spoke")

    def __init__(self) -> None:
        self._rest = bytearray()  # it grows where it stands: an event in small pieces is not copied for each
        self._cr = False  # the last byte was a CR, and ended its line: an LF that follows belongs to it
        self.done = False  # "[DONE]" has passed
        self.spoke = False  # the last bytes were more than comments and blank lines, which say only that a line stands

    def feed(self, data: bytes) -> bytes:
        """The events that are whole by now, a blank line after each; empty when none is."""
        if (
            data[:6] == b"data: " and data.find(b"\n") == len(data) - 2 and data[-1] == _LF
            and _CR not in data and not self._rest and not self._cr
        ):  # fmt: skip  # one line as it should be, and a blank one: what a model server writes at a time
            self.spoke = True
            self.done = self.done or data.startswith(_LAST)
            return data
        if self._cr or b"\r" in data:
            data = self._with_newlines(data)
        rest = self._rest
        held = len(rest)
        rest += data
        end = rest.rfind(b"\n\n", max(0, held - 1)) + 2  # what was held before has no end in it
        events = b""
        if end > 1:
            events = bytes(rest[:end])
            del rest[:end]
        if len(rest) > LARGEST_EVENT:
            raise EventTooLarge
        fields = events.count(b"data:")
        self.spoke = fields > 0 or _says_more(events) or _says_more(bytes(rest[:_SPEAKS]))
        if fields != events.count(b"data: "):
            events = _NO_SPACE.sub(b"data: ", events)
        self.done = self.done or DONE in b"\n" + events
        return events

    def _with_newlines(self, data: bytes) -> bytes:
        """CRLF and lone CR end lines too, as soon as they come: an event waits for nothing."""
        if self._cr and data[:1] == b"\n":
            data = data[1:]
        self._cr = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    @property
    def unfinished(self) -> bool:
        return bool(self._rest.strip())


def _says_more(lines: bytes) -> bool:
    return any(line and not line.startswith(b":") for line in lines.split(b"\n"))
