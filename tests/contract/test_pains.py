"""docs/known-pains.md names tests: each of them exists, so that none of its promises loses its proof unnoticed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "known-pains.md"
NAMED = re.compile(r"`([a-z0-9_/]+\.py)::([A-Za-z_0-9]+)`")


def names_in(file: Path) -> set[str]:
    """Of the functions, and of the state machines' cases."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def test_each_pain_has_tests_and_each_of_them_exists() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(row.split("|")[1]) for row in rows] == list(range(1, 26))
    for row in rows:
        named = NAMED.findall(row)
        assert named, row
        for file, name in named:
            assert name in names_in(ROOT / "tests" / file), f"{file}::{name}"
