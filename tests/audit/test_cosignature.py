"""The optional post-quantum signature: there when asked for, checked when its key is there, never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.audit.cosigner import Cosigner
from router.audit.format import layout
from router.audit.format.cosignature import cosigned_message, parse_cosigner
from router.audit.format.notes import Checkpoint, NoteError, Signer, open_checkpoint
from router.audit.verify.check import verify
from router.audit.verify.findings import CannotVerifyError
from router.audit.verify.keys import load_keys
from tests.audit.ledgers import build, codes

NAME = "ringfence/audit/" + "ab" * 16
CHECKPOINT = Checkpoint(NAME, 7, bytes(32))


def test_the_signed_message_is_that_of_tlog_cosignature() -> None:
    """Byte by byte from the specification's structure."""
    told = cosigned_message("w", 5, Checkpoint("log", 7, bytes(range(32))))
    numbers = [number.to_bytes(8, "big") for number in (5, 0, 7)]
    assert told == b"subtree/v1\n\0\x01w%b\x03log%b%b%b" % (*numbers, bytes(range(32)))


def test_a_cosigned_note_opens_for_both_keys() -> None:
    signer, cosigner = Signer(NAME, bytes(32)), Cosigner(NAME, bytes(32))
    note = signer.note(CHECKPOINT.text()) + cosigner.line(CHECKPOINT, 1_795_260_000)
    assert open_checkpoint(note, signer.verifier) == CHECKPOINT
    key = parse_cosigner(cosigner.verifier.text() + "\n")
    key.check(CHECKPOINT, note)
    with pytest.raises(NoteError, match="is wrong"):
        key.check(Checkpoint(NAME, 8, bytes(32)), note)
    with pytest.raises(NoteError, match="no ML-DSA-44 signature"):
        key.check(CHECKPOINT, signer.note(CHECKPOINT.text()))


@pytest.mark.parametrize("text", ["", "name+00000000+AAAA", Signer(NAME, bytes(32)).verifier.text()])
def test_what_is_no_such_key_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        parse_cosigner(text)


def test_a_ledger_with_both_signatures(tmp_path: Path) -> None:
    build(tmp_path, exchanges=3)
    build(tmp_path, exchanges=3, runs=2, ml_dsa=True)  # wanted later: the pair is made then
    assert (tmp_path / layout.COSIGNER_KEY).stat().st_mode & 0o777 == 0o600
    keys = load_keys(tmp_path, None, None, ())
    report = verify(tmp_path, keys)
    assert codes(report) == []
    assert "ML-DSA-44" in report.checks["post-quantum"]
    path = tmp_path / layout.CHECKPOINT
    path.write_text("\n".join(path.read_text().split("\n")[:5]) + "\n")
    assert codes(verify(tmp_path, keys)) == ["checkpoint"]
    (tmp_path / layout.COSIGNER_VKEY).write_text("nonsense")
    with pytest.raises(CannotVerifyError, match=r"log-mldsa.vkey"):
        load_keys(tmp_path, None, None, ())
