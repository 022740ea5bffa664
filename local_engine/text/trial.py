"""Does a chat template render at all, and soon? Asked before a model is taken, and before it is served.

A template is a program of whoever made the file. Jinja's sandbox keeps it from reaching anything, not from running for
hours: the trial counts the lines of Python that it runs, and ends it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from local_engine.text.template import ChatTemplate, EndlessTemplate

MESSAGES = [{"role": "user", "content": "Hello."}]
MOST_LINES = 200_000
"""The largest templates of published models take some thousands for one message."""


def try_template(source: str) -> None:
    """TemplateRefusal when the sandbox cannot render one user's message, or not within MOST_LINES."""
    with _counted(MOST_LINES):
        ChatTemplate(source, ()).render(MESSAGES)


@contextmanager
def _counted(most: int) -> Iterator[None]:
    """Of this thread alone. Whoever traced before (a debugger, a measurement of coverage) is given its place back."""
    left = [most]

    def trace(
        _frame: FrameType, _event: str, _argument: Any
    ) -> Callable[..., Any]:  # pragma: no cover - traced by nobody
        left[0] -= 1
        if left[0] < 0:
            raise EndlessTemplate(f"the chat template does not end within {most} steps")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
