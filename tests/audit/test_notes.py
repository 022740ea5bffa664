"""Signed notes and checkpoints, against the specification's own example and against hostile spellings."""

from __future__ import annotations

import base64

import pytest

from router.audit.format.notes import (
    MOST_NOTE_BYTES,
    Checkpoint,
    NoteError,
    Signer,
    VerifierKey,
    open_checkpoint,
    open_note,
    parse_checkpoint,
    parse_vkey,
)

# The example of C2SP signed-note (and of Go's sumdb/note).
EXAMPLE_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
EXAMPLE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
SIGNER = Signer("ringfence/audit/" + "ab" * 16, bytes(range(32)))
CHECKPOINT = Checkpoint(SIGNER.verifier.name, 7, bytes(32))
NOTE = SIGNER.note(CHECKPOINT.text())
KEY = SIGNER.verifier


def test_the_specifications_example_opens() -> None:
    key = parse_vkey(EXAMPLE_VKEY + "\n")
    assert open_note(EXAMPLE, key).startswith("If you think")
    assert key.text() == EXAMPLE_VKEY
    with pytest.raises(NoteError, match="signature of PeterNeumann is wrong"):
        open_note(EXAMPLE.replace("answer", "Answer"), key)


def test_a_checkpoint_goes_there_and_back() -> None:
    assert open_checkpoint(NOTE, KEY) == CHECKPOINT
    assert parse_vkey(KEY.text()) == KEY


def other_signature(name: str, size: int = 64) -> str:
    return f"— {name} {base64.b64encode(b'1234' + bytes(size)).decode()}\n"


def test_strangers_may_sign_too() -> None:
    assert open_checkpoint(NOTE + other_signature("witness.example"), KEY) == CHECKPOINT


def test_a_bad_signature_by_our_key_spoils_a_good_one() -> None:
    bad = f"— {KEY.name} {base64.b64encode(KEY.key_hash + bytes(64)).decode()}\n"
    with pytest.raises(NoteError, match="is wrong"):
        open_note(NOTE + bad, KEY)


@pytest.mark.parametrize(
    ("note", "sentence"),
    [
        ("", "not a signed note"),
        ("text\n", "not a signed note"),
        (NOTE.rstrip("\n"), "not a signed note"),
        (NOTE + "x" * MOST_NOTE_BYTES + "\n", "not a signed note"),
        (CHECKPOINT.text() + "\n" + other_signature("witness.example"), "no signature by"),
        (NOTE + "- dash AAAAAAAA\n", "is not a signature"),
        (NOTE + "— name !!!!!!!!\n", "not base64"),
        (NOTE + "—  AAAAAAAA\n", "is not a signature"),
        (NOTE + "— name AAAA\n", "is not a signature"),
        (NOTE.replace("\n7\n", "\n8\n"), "is wrong"),
    ],
)
def test_what_is_no_note_of_ours_is_refused(note: str, sentence: str) -> None:
    with pytest.raises(NoteError, match=sentence):
        open_note(note, KEY)


@pytest.mark.parametrize(
    "text",
    [
        CHECKPOINT.text().replace("\n7\n", "\n07\n"),
        CHECKPOINT.text().replace("\n7\n", "\n+7\n"),
        CHECKPOINT.text().replace("\n7\n", "\n٧\n"),
        CHECKPOINT.text() + "extension\n",
        CHECKPOINT.text().rstrip("\n"),
        "name\n7\n" + base64.b64encode(bytes(31)).decode() + "\n",
        "name\n7\nnot base64\n",
        "\n7\n" + base64.b64encode(bytes(32)).decode() + "\n",
    ],
)
def test_a_checkpoint_has_one_spelling(text: str) -> None:
    with pytest.raises(NoteError):
        parse_checkpoint(text)


def test_a_checkpoint_of_another_log_is_refused() -> None:
    note = SIGNER.note(Checkpoint("another/log", 7, bytes(32)).text())
    with pytest.raises(NoteError, match="is of another/log"):
        open_checkpoint(note, KEY)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not an Ed25519"),
        ("name+00000000+" + base64.b64encode(b"\x01" + bytes(31)).decode(), "not an Ed25519"),
        ("name+00000000+" + base64.b64encode(b"\x02" + bytes(32)).decode(), "not an Ed25519"),
        ("name+00000000+" + base64.b64encode(b"\x01" + bytes(32)).decode(), "does not have the hash"),
        ("name+00000000+!!", "not base64"),
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(NoteError, match=sentence):
        parse_vkey(text)


def test_the_key_hash_depends_on_name_and_key() -> None:
    hashes = {VerifierKey(name, key).key_hash for name in ("a", "b") for key in (bytes(32), bytes(31) + b"\x01")}
    assert len(hashes) == 4
