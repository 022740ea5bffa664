"""Every error a client can get: its own code, OpenAI's shape, and a true row in the reference."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from policies import Reason
from router.errors import RouterError, as_openai

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "errors.md"
ROW = re.compile(r"^\| `([a-z_]+)` \| ([0-9]{3}) \| `([a-z_]+)` \|", re.MULTILINE)


def every_error() -> tuple[type[RouterError], ...]:
    """All classes, bases of others among them: these are raised under their own name too."""
    found: list[type[RouterError]] = []
    waiting: list[type[RouterError]] = [RouterError]
    while waiting:
        found.append(kind := waiting.pop(0))
        waiting += kind.__subclasses__()
    return tuple(found)


KINDS = every_error()


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in KINDS]
    assert sorted(codes) == sorted(set(codes))
    assert len(KINDS) > 15


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_has_openais_shape(kind: type[RouterError]) -> None:
    document = json.loads(as_openai(kind("What happened. What to do.", param="model")))
    assert document == {
        "error": {"message": "What happened. What to do.", "type": kind.type, "param": "model", "code": kind.code}
    }
    assert 400 <= kind.status < 600
    assert (kind.type == "invalid_request_error") == (kind.status < 429 or kind.status == 431)


def test_the_page_tells_each_and_no_other() -> None:
    told = {code: (int(status), kind) for code, status, kind in ROW.findall(PAGE.read_text())}
    assert told == {kind.code: (kind.status, kind.type) for kind in KINDS}


def test_every_error_is_one_that_can_happen() -> None:
    """A class that nothing raises is a promise without a keeper; one raised elsewhere may be the engine's."""
    used = set()
    for path in (ROOT / "router").rglob("*.py"):
        if path.name != "errors.py" or path.parent.name != "router":
            used |= {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    engines_own = {"ContextLengthExceeded"}  # passed through as the engine says it
    assert {kind.__name__ for kind in KINDS} - used <= engines_own


def codes_of_the_engine() -> set[str]:
    """Where it makes an error: the third of what `ApiError` and `invalid` are given, the first of `Failed`."""
    places = {"ApiError": 2, "invalid": 2, "Failed": 0}
    found: set[str] = set()
    for path in (ROOT / "local_engine").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call | ast.FunctionDef):
                continue
            name = node.name if isinstance(node, ast.FunctionDef) else getattr(node.func, "id", "")
            given = node.args.defaults if isinstance(node, ast.FunctionDef) else node.args[places.get(name, 9) :]
            if name in places:
                found |= {
                    one.value for one in given[:1] if isinstance(one, ast.Constant) and isinstance(one.value, str)
                }
    return found - {"client_left"}  # nobody is left to read it


def test_every_code_of_the_engine_is_told_and_no_other() -> None:
    page = (ROOT / "docs" / "reference" / "engine.md").read_text().partition("## Errors")[2].partition("\n## ")[0]
    told = {
        word for row in page.splitlines() if row.startswith("| `") for word in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert told == codes_of_the_engine()


def test_every_reason_of_a_decision_is_told_and_no_other() -> None:
    """They stand in ledgers and messages: a reader must be able to look each of them up."""
    pages = [ROOT / "docs" / "reference" / f"{name}.md" for name in ("errors", "destinations")]
    rows = [line for page in pages for line in page.read_text().splitlines() if line.startswith("| `")]
    told = {word for row in rows for word in re.findall(r"`([a-z_]+)`", row.split("|")[1])}
    reasons = {reason.value for reason in Reason} - {"allowed"}
    assert reasons <= told
    assert told - {kind.code for kind in KINDS} == reasons
