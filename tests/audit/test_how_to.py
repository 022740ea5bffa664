"""docs/how-to/review-the-ledger.md: every console command in it is run, in order, and does what the page says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from router.audit import Kind, Ledger
from router.audit.format import layout
from router.audit.prove import anchor_text
from tests.audit.ledgers import DECISION, DENIAL, exchange, settings
from tests.audit.test_content import sealed

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "review-the-ledger.md"
COMMANDS = re.findall(r"^\$ (.+)$", PAGE.read_text(), re.MULTILINE)
TEXT = b"the text in question"


def write_ledger(directory: Path) -> None:
    """What the operator's service wrote in between: to the reviewer's public key, with digests."""
    ledger = Ledger.open(settings(directory / "ledger"))
    body = {**DECISION, "prompt_mac": ledger.digest("alice", TEXT), "capture": sealed(ledger, "req-1", "prompt", TEXT)}
    index = ledger.append(Kind.DECISION, body).index
    ledger.append(Kind.OUTCOME, {"decision": index, "ending": "completed"})
    ledger.append(Kind.DENIAL, DENIAL)
    for _ in range(20):
        exchange(ledger)
    ledger.close()
    (directory / "text.txt").write_bytes(TEXT + b"\n")


def run(directory: Path, command: str) -> subprocess.CompletedProcess[str]:
    noted = anchor_text(directory / "ledger") if (directory / "ledger" / layout.CHECKPOINT).exists() else ""
    words = shlex.split(command.replace("SIZE:ROOT", noted))
    target = words[words.index(">") + 1] if ">" in words else None
    words = words[: words.index(">")] if target else words
    programs = {
        "ringfence": [sys.executable, "-m", "router"],
        "python3": [sys.executable],
        "cat": ["cat"],
        "cp": ["cp"],
    }
    done = subprocess.run([*programs[words[0]], *words[1:]], cwd=directory, capture_output=True, text=True, check=False)
    if target:
        (directory / target).write_text(done.stdout)
    return done


@pytest.mark.timeout(300)
def test_the_pages_commands_do_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PAGE.parents[2]))
    outputs: dict[str, str] = {}
    for command in COMMANDS:
        done = run(tmp_path, command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        outputs[command] = done.stdout
        if "keygen" in command:
            (tmp_path / "ledger").mkdir()
            (tmp_path / "review" / "reviewer.pub").rename(tmp_path / "ledger" / "reviewer.pub")
            write_ledger(tmp_path)
    told = "\n".join(outputs.values())
    assert len(COMMANDS) >= 15
    assert "intact" in told
    assert "UNCHECKED" not in next(text for command, text in outputs.items() if "--strict" in command)
    assert "prompt of alice to gpu-1" in told
    assert TEXT.decode() in outputs["ringfence audit open req-1 ledger --key review/reviewer.key"]
    assert "model_unknown" in told
    assert "class_uid" in told
    assert "0 files of 2026-01-01 destroyed" in told
    assert "Which destinations received how many bytes?" in (tmp_path / "report.html").read_text()
