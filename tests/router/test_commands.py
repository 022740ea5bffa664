"""The `ringfence` program imports what the called command needs, and no more: a start is not slowed by the others."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from router.cli.app import app
from router.cli.commands import COMMANDS, GROUPS

NOT_TO_SERVE = (
    "cryptography.x509",
    "jinja2",
    "pydantic",
    "rich",
    "router.audit",
    "router.gate",
    "router.pull",
    "router.seal.enclose",
    "typer",
)


@pytest.fixture(scope="module")
def group() -> Any:
    return typer.main.get_command(app)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_where_the_table_says(name: str, group: Any) -> None:
    found = group.get_command(None, name)
    assert found.name == name
    assert found.get_short_help_str(1000)
    assert bool(getattr(found, "commands", ())) == (name in GROUPS)


def test_the_help_lists_all_in_order(group: Any) -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout.partition("Commands:")[2]
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("  ") and line[2] != " "] == list(
        COMMANDS
    )
    assert len(group.commands) == len(COMMANDS)


def test_a_mistyped_name_is_answered_with_the_nearest() -> None:
    run = CliRunner().invoke(app, ["serv"])
    assert run.exit_code == 2
    assert "Did you mean 'serve'?" in run.output


def test_serving_without_tls_imports_nothing_of_reviewers_or_models() -> None:
    code = f"""
import sys
import router.cli
import router.cli.serving
from router.cli.straight import straight
from router.settings.load import load_whole
load_whole(None, {{"CUSTOM_LLM_BASE_URL": "http://127.0.0.1:9/v1", "CUSTOM_LLM_MODEL": "m"}}, straight(["serve"])[1])
print(*[name for name in {NOT_TO_SERVE!r} if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
