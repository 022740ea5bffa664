"""What a page shows of a command's output is what the command prints."""

from __future__ import annotations

import re
from pathlib import Path

from tests.service import ringfence

ROOT = Path(__file__).parents[2]


def test_why_a_rule_was_chosen(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "route-by-rules.md").read_text()
    [shown] = re.findall(r"^```\n\$ cat body\.json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    body, command, *output = shown.splitlines()
    (tmp_path / "body.json").write_text(body)
    (tmp_path / "policies").symlink_to(ROOT / "policies")
    done = ringfence(tmp_path, *command.removeprefix("$ ringfence ").split())
    assert (done.returncode, done.stdout.splitlines()) == (0, output)
