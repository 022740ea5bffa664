"""A tree against its shape: the findings speak to the operator and point at the nearest known key."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Final

from router.settings.findings import Report
from router.settings.reading import Kind, Mistake, Shape, read

MOST: Final = 100  # mistakes told of one file: each costs a look for the nearest known key


def validate(shape: type[Shape], tree: Any, report: Report) -> Shape | None:
    """The tree as an instance of its shape; None, with every mistake reported, when it has another."""
    if not isinstance(tree, dict):
        report.add((), "the file must hold keys and values at its top", "begin with 'version: 1'")
        return None
    reading = read(shape, tree)
    found = reading.mistakes
    if len(found) > MOST:
        report.add((), f"{len(found)} mistakes, of which {MOST} are told here", "is this the file that is meant?")
    for mistake in found[:MOST]:
        _report(mistake, report)
    return reading.value


def nearest(word: str, known: list[str], otherwise: str = "") -> str:
    """The hint for a name that does not exist."""
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return otherwise or (f"known: {', '.join(sorted(known)[:12])}" if known else "")


def _report(mistake: Mistake, report: Report) -> None:
    path = mistake.path
    if mistake.kind is Kind.UNKNOWN:
        known = list(mistake.known)
        report.add(path, "unknown key", nearest(str(path[-1]), known, f"known here: {', '.join(known)}"))
    elif mistake.kind is Kind.MISSING:
        report.add(path[:-1], f"the key '{path[-1]}' is missing")
    else:
        report.add(path, mistake.sentence)
