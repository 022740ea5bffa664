"""Bearer tokens for upstreams: from a file only its owner can touch, and fit for a header."""

from __future__ import annotations

import re
from pathlib import Path as FilePath
from typing import Final

from router.settings.files import read_text
from router.settings.findings import Path, Report, SettingsError

_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,4096}")


def read_token(file: FilePath, written: str, path: Path, report: Report) -> str:
    """The token in a key file; "" when there is none, which is reported. Never a word of it is."""
    try:
        token = read_text(file, private=True).strip()
    except SettingsError as error:
        found = error.findings[0]
        report.add(path, f"{written}: {found.message}", found.hint)
        return ""
    if not is_token(token):
        report.add(path, f"{written}: does not hold one token", "one line of printable ASCII without blanks")
        return ""
    return token


def is_token(text: str) -> bool:
    """May this stand in an Authorization header (RFC 9110: visible characters)?"""
    return _TOKEN.fullmatch(text) is not None
