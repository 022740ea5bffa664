"""`ringfence audit anchor --to`: a listed witness sees every checkpoint that continues the last, and no other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from router.audit import Ledger
from router.audit.format import layout
from router.audit.format.notes import Checkpoint, NoteError
from router.audit.format.witness import parse_witness
from router.cli.audit import audit_app
from tests.audit.attacker import Forger, steal
from tests.audit.ledgers import build, copy, settings, vkey
from tests.fakes.witness import Witness, running_witness


@pytest.fixture
def witness() -> Iterator[Witness]:
    with running_witness() as found:
        yield found


@pytest.fixture
def ledger(tmp_path: Path, witness: Witness) -> Path:
    directory = build(tmp_path / "ledger", exchanges=6)
    witness.trust(vkey(directory).text())
    (tmp_path / "policy.yaml").write_text(f'witnesses: {{w: {{url: "{witness.url}", vkey: "{witness.vkey}"}}}}\n')
    return directory


def anchor(directory: Path, *words: object, to: str = "w") -> Result:
    policy = directory.parent / "policy.yaml"
    options = ["anchor", directory, "--to", to, "--config", policy, *words]
    return CliRunner().invoke(audit_app, [str(word) for word in options])


def test_a_witness_cosigns_what_continues_the_log(ledger: Path, witness: Witness, tmp_path: Path) -> None:
    first = anchor(ledger)
    assert first.exit_code == 0, first.output
    assert "w cosigned 19 records at " in first.output
    build(ledger, exchanges=300)  # more than a tile
    again = anchor(ledger, "--out", tmp_path / "cosigned")
    assert again.exit_code == 0, again.output
    assert [body.split("\n")[0] for body in witness.asked] == ["old 0", "old 0", "old 19"]
    assert anchor(ledger).exit_code == 0, "the same checkpoint once more"

    cosigned = (tmp_path / "cosigned").read_text()
    assert cosigned.count("\u2014 ") == 2
    checked = CliRunner().invoke(audit_app, ["verify", str(ledger), "--note", str(tmp_path / "cosigned")])
    assert (checked.exit_code, "1 of 1 numbers from outside agree" in checked.output) == (0, True)


def test_no_prompt_goes_there(ledger: Path, witness: Witness) -> None:
    anchor(ledger)
    assert all("alice" not in body and len(body) < 600 for body in witness.asked)


def test_a_rollback_is_refused(ledger: Path, tmp_path: Path) -> None:
    before = copy(ledger, tmp_path / "before")
    build(ledger)
    assert anchor(ledger).exit_code == 0
    shutil.rmtree(ledger)
    copy(before, ledger)
    refused = anchor(ledger)
    assert refused.exit_code == 1
    assert "records, the log has 19: it was cut, or rolled back" in refused.output


def test_a_log_rewritten_by_someone_with_all_keys_is_refused(ledger: Path) -> None:
    """Nothing on the machine can tell; the witness can."""
    anchor(ledger)
    forger = Forger(ledger, steal(ledger, mac_at=0, signing=True))
    forger.records[3]["body"]["upstream"] = "elsewhere"
    forger.rebuild()
    shutil.rmtree(ledger / layout.TILES, ignore_errors=True)
    assert CliRunner().invoke(audit_app, ["verify", str(ledger)]).exit_code == 0
    refused = anchor(ledger)
    assert refused.exit_code == 1
    assert "it was rewritten; verify it" in refused.output
    build(ledger, exchanges=40)
    assert "it was rewritten; verify it" in anchor(ledger).output


def test_what_a_witness_says_is_checked(ledger: Path, witness: Witness) -> None:
    stranger = Witness(witness.name)
    text = (ledger / layout.CHECKPOINT).read_text().partition("\n\n")[0] + "\n"
    good, moved = witness._cosign(text), witness._cosign(text.replace("\n19\n", "\n18\n"))
    short = good.replace(good[-9:], "AAA=\n")
    for breaks, says in (
        ("hello\n", "not a signature"),
        ("", ""),
        (stranger._cosign(text), "no cosignature by"),
        (moved, "is wrong"),
        (short, "another length"),
    ):
        witness.breaks = breaks
        done = anchor(ledger)
        assert (done.exit_code, says in done.output) == (3 if breaks else 0, True), done.output


def test_a_witness_that_does_not_help_is_told_of(ledger: Path, witness: Witness) -> None:
    witness.logs.clear()
    assert "it does not know this log: give its keeper the line in log.vkey" in anchor(ledger).output
    witness.trust(vkey(ledger).text().replace("+", "+", 1))
    witness.logs[vkey(ledger).name] = bytes(32)
    assert anchor(ledger).exit_code == 3
    nobody = anchor(ledger, to="nobody")
    assert (nobody.exit_code, "(listed: w)" in nobody.output) == (3, True)
    policy = ledger.parent / "policy.yaml"
    policy.write_text(policy.read_text().replace(witness.url.rpartition(":")[2], "1/witness"))
    assert "cannot be asked: refused" in anchor(ledger).output
    policy.write_text(policy.read_text().replace("http://127.0.0.1:1", "https://api.openai.com:443"))
    refused = anchor(ledger)
    assert (refused.exit_code, "cloud_provider" in refused.output) == (3, True)


def test_a_ledger_that_somebody_writes_is_not_anchored_past_its_writer(ledger: Path, witness: Witness) -> None:
    """Who has the lock records what is dialled; one that takes no orders here would not."""
    alive = Ledger.open(settings(ledger))
    try:
        done = anchor(ledger)
    finally:
        alive.close()
    assert (done.exit_code, "a service writes this ledger, and does not answer" in done.output) == (3, True)
    assert witness.asked == []
    (ledger / layout.LOCK).unlink()  # as in a copy of the files that matter
    assert anchor(ledger).exit_code == 0


def test_a_policy_file_that_is_wrong_says_so(ledger: Path) -> None:
    (ledger.parent / "policy.yaml").write_text("witnesses: 1\n")
    done = anchor(ledger)
    assert (done.exit_code, "witnesses" in done.output) == (3, True)


@pytest.mark.parametrize("text", ["", "w", "w+00000000+AAAA", "w+00000000+" + "B" + "A" * 43])
def test_what_is_no_witness_key_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        parse_witness(text)


def test_a_cosignature_fits_one_checkpoint() -> None:
    """A key reads back as it was written; its cosignature does not fit another checkpoint."""
    witness = Witness()
    key = parse_witness(witness.vkey)
    assert key.text() == witness.vkey
    checkpoint = Checkpoint("log", 1, bytes(32))
    note = f"{checkpoint.text()}\n{witness._cosign(checkpoint.text())}"
    assert key.cosigned_at(checkpoint, note) > 0
    with pytest.raises(NoteError, match="is wrong"):
        key.cosigned_at(Checkpoint("log", 2, bytes(32)), note)
