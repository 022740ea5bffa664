"""ringfence serve: settings in, the service runs until a signal."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from router.cli.absent import absent
from router.settings.environment import current
from router.settings.findings import SettingsError
from router.settings.flags import Flags
from router.settings.load import load, load_whole
from router.supervisor.scrub import scrubbed
from router.supervisor.serve import CannotServe, serve

GOOD = 0
BAD = 1
UNREADABLE = 2


def run(config: Path | None, flags: Flags) -> int:
    """The exit code, once the service has ended or could not start."""
    environment = current()
    try:
        loaded = load_whole(config, environment, flags)
        for note in loaded.notes:
            _complain(f"note: {note}")
        missing = absent(loaded.snapshot)
        for sentence in missing:
            _complain(sentence)
        if missing:
            return BAD
        serve(loaded.snapshot, scrubbed(environment), _say, partial(load, config, environment, flags))
    except SettingsError as error:
        for finding in error.findings:
            _complain(str(finding))
        _complain("Nothing was started: the settings above must be right first.")
        return UNREADABLE if error.unreadable else BAD
    except CannotServe as error:
        _complain(f"ringfence: {error}")
        return BAD
    return GOOD


def _say(text: str) -> None:
    with suppress(OSError):  # a terminal or a reader that left must not stop what is being told of
        print(text, flush=True)


def _complain(text: str) -> None:
    if sys.stderr is not None:  # closed before we were started
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)
