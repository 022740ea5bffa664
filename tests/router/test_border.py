"""The program at its edges: files that are none, streams that are gone. A sentence and an exit code, no traceback."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from router.cli.app import app
from router.cli.border import CANNOT, CANNOT_REVIEW, INTERRUPTED, border
from tests.audit.ledgers import build, copy
from tests.service import RINGFENCE, environment

FILE = "FILE"
COMMANDS = [
    "check FILE",
    "serve --config FILE",
    "explain --request FILE",
    "explain http://10.0.0.1:80 --config FILE",
    "warm --port 1 --key-file FILE",
    "warm --port 1 --https --ca-file FILE",
    "reload --config FILE",
    "reload --ledger FILE",
    "narrow --reach host --config FILE",
    "switch m --config FILE",
    "stop --config FILE",
    "logs m --ledger FILE",
    "doctor --bench --model FILE",
    "doctor --config FILE",
    "export nftables FILE",
    "keys create a --file FILE",
    "keys list --file FILE",
    "keys revoke a --file FILE",
    "models list --config FILE",
    "models verify --config FILE",
    "models rm a/b:c.gguf --config FILE",
    "models rm FILE",
    "audit verify FILE",
    "audit verify ledger --key FILE",
    "audit verify ledger --note FILE",
    "audit show FILE",
    "audit show ledger --key FILE",
    "audit tail FILE",
    "audit match FILE ledger",
    "audit anchor FILE",
    "audit anchor ledger --config FILE --to w",
    "audit open FILE",
    "audit export FILE",
    "audit report FILE",
    "audit report ledger --out FILE",
    "audit recover FILE",
    "audit erase FILE",
    "audit prune FILE",
    "audit prove 0 FILE",
    "audit receipt FILE --vkey x",
    "audit keygen --out FILE",
    "audit standalone --out FILE",
]
PIPES = ("explain --request", "warm", "audit match", "audit receipt", "--note", "--key", "--out")
"""Commands that wait for whoever writes into a pipe, as `cat` does: `<(…)` is one."""


def make_bad_files(directory: Path) -> dict[str, str]:
    """What it is -> its name."""
    (directory / "loop").symlink_to("loop")
    (directory / "directory").mkdir()
    (directory / "directory" / "file").touch()
    (directory / "binary").write_bytes(bytes(range(256)) * 8)
    (directory / "controls").write_text('upstreams: {a: {url: "http://10.0.0.1:80", key_file: "a\\0b"}}\n')
    (directory / "nobody").write_text("audit: {directory: ~nobody-is-called-so/x}\n")
    os.mkfifo(directory / "pipe")
    names = {name: name for name in ("loop", "directory", "binary", "controls", "nobody", "pipe")}
    return {**names, "below a file": "binary/x", "long": "n" * 5000, "missing": "missing"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("whole") / "ledger", exchanges=2)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_none_is_answered_with_a_sentence(
    command: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copy(whole, tmp_path / "ledger")
    for kind, name in make_bad_files(tmp_path).items():
        if kind == "pipe" and any(word in command for word in PIPES):
            continue
        run = CliRunner().invoke(app, [name if word == FILE else word for word in command.split()])
        assert isinstance(run.exception, SystemExit | None), (kind, run.exception)
        assert run.exit_code in {0, 1, 2, 3}, kind
        assert run.exit_code == 0 or run.output.strip(), kind
        assert "Traceback" not in run.output


def test_a_full_disk_or_a_reader_that_is_gone_is_no_verdict(whole: Path, tmp_path: Path) -> None:
    """1 is "tampered", and "refused": an output that could not be written is neither."""
    copy(whole, tmp_path / "ledger")
    for command, code in [
        (["audit", "verify"], CANNOT_REVIEW),
        (["check", "--json"], CANNOT),
        (["--help"], CANNOT),
    ]:
        with Path("/dev/full").open("wb") as full:
            done = _run(tmp_path, command, full.fileno())
        assert (done.returncode, done.stderr) == (code, "ringfence: No space left on device\n"), command
        reading, writing = os.pipe()
        os.close(reading)
        gone = _run(tmp_path, command, writing)
        os.close(writing)
        assert gone.returncode == (1 if command == ["--help"] else code)  # typer's own word: there is no verdict in it
        assert gone.stderr == ""


def test_a_locale_without_the_letters_gets_escapes(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("models: {modèle: {tiers: [embedded]}}\n", encoding="utf-8")
    done = _run(tmp_path, ["check", "p.yaml"], subprocess.PIPE, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "model mod\\xe8le: ceiling" in done.stdout


def test_a_working_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = ["sh", "-c", f"cd gone && rmdir ../gone && exec {RINGFENCE} check"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == CANNOT
    assert "is the working directory still there?" in done.stderr


def _run(directory: Path, command: list[str], stdout: int, **given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RINGFENCE, *command], cwd=directory, env=environment(**given), stdin=subprocess.DEVNULL, stdout=stdout,
        stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_an_interrupt_is_told_by_its_code_alone() -> None:
    with pytest.raises(SystemExit) as ended, border():
        raise KeyboardInterrupt
    assert ended.value.code == INTERRUPTED
