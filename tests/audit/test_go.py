"""An implementation that is not ours agrees: Go's sumdb/note and sumdb/tlog open our notes and check our proofs.

Debian: apt-get install golang-go golang-golang-x-mod-dev. Without them these tests are skipped, loudly.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from router.audit.format.proofs import consistency
from router.audit.format.tiles import HashReader
from router.audit.prove import newest_checkpoint, prove
from tests.audit.ledgers import build, raw_lines, vkey

PACKAGES = Path("/usr/share/gocode")
NEEDED = shutil.which("go") is not None and (PACKAGES / "src/golang.org/x/mod/sumdb/tlog").is_dir()
pytestmark = pytest.mark.skipif(
    not NEEDED, reason="the Go verifier is missing: apt-get install golang-go golang-golang-x-mod-dev"
)
SIZES = (1, 2, 7, 8, 20, 64)


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checker, compiled once."""
    folder = tmp_path_factory.mktemp("go")
    binary = folder / "check"
    environment = {
        "GO111MODULE": "off",
        "GOPATH": str(PACKAGES),
        "GOCACHE": str(folder / "cache"),
        "HOME": str(folder),
        "PATH": "/usr/bin:/bin",
        "CGO_ENABLED": "0",
    }
    source = Path(__file__).with_name("go") / "check.go"
    subprocess.run(["go", "build", "-o", binary, source], env=environment, check=True)
    return binary


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A ledger's newest note, a proof for every record and from several sizes."""
    directory = build(tmp_path_factory.mktemp("ledger"), exchanges=40)
    checkpoint, note = newest_checkpoint(directory)
    reader, lines = HashReader(directory), raw_lines(directory)
    return {
        "vkey": vkey(directory).text(),
        "note": note,
        "inclusion": [
            {"index": index, "line": lines[index][:-1].decode(), "path": texts(prove(directory, index).path)}
            for index in range(checkpoint.size)
        ],
        "consistency": [
            {
                "old": old,
                "oldRoot": texts([reader.root_of(0, old)])[0],
                "path": texts(consistency(old, checkpoint.size, reader.root_of)),
            }
            for old in SIZES
        ],
    }


def texts(hashes: Any) -> list[str]:
    return [base64.b64encode(node).decode() for node in hashes]


def ask(checker: Path, question: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([checker], input=json.dumps(question), capture_output=True, text=True, check=False)


def test_go_agrees(checker: Path, question: dict[str, Any]) -> None:
    answer = ask(checker, question)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "good\n", "")


def changed(question: dict[str, Any], *path: Any, value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(question))
    place = copy
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return copy


def test_go_refuses_what_is_not_so(checker: Path, question: dict[str, Any]) -> None:
    """So that the agreement above means something."""
    size = newest = question["note"].split("\n")[1]
    for lie in [
        changed(question, "note", value=question["note"].replace(f"\n{newest}\n", f"\n{int(size) + 1}\n")),
        changed(question, "inclusion", 5, "index", value=6),
        changed(question, "inclusion", 5, "line", value=question["inclusion"][6]["line"]),
        changed(question, "consistency", 2, "oldRoot", value=question["consistency"][1]["oldRoot"]),
    ]:
        assert ask(checker, lie).returncode == 1
