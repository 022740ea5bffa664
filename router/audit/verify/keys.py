"""What a reviewer brings: the secret key, the pinned public key, the numbers in the notebook."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from router.audit.format import layout
from router.audit.format.cosignature import CosignerKey, parse_cosigner
from router.audit.format.notes import VerifierKey, open_checkpoint, parse_vkey
from router.audit.format.seal import ReviewerSecret, parse_secret
from router.audit.format.segments import read_small
from router.audit.verify.findings import CannotVerifyError

CHECKPOINT_FILE: Final = "the checkpoint file"


@dataclass(frozen=True, slots=True)
class Note:
    """A number noted outside the machine: so many records had this root."""

    size: int
    root: bytes
    source: str


@dataclass(frozen=True, slots=True)
class Keys:
    """Everything that a verification can check with. What was found beside the log, its keeper could have changed."""

    vkey: VerifierKey
    pinned: bool = False
    reviewer: ReviewerSecret | None = None
    reviewer_beside: bool = False
    notes: tuple[Note, ...] = field(default=())
    cosigner: CosignerKey | None = None  # of the second, post-quantum signature; from beside the log


def parse_note(text: str, vkey: VerifierKey) -> Note:
    """`SIZE:ROOT` as `ringfence audit anchor` prints it (base64), or the path of a saved checkpoint."""
    if ":" not in text and not Path(text).is_file():
        raise CannotVerifyError(
            f"--note {text}: neither SIZE:ROOT, as `audit anchor` prints it, nor a saved checkpoint"
        )
    size, colon, root = text.partition(":")
    if colon and size.isascii() and size.isdigit():
        try:
            found = Note(int(size), base64.b64decode(root, validate=True), "notebook")
        except binascii.Error:
            raise CannotVerifyError(f"{text!r}: after the colon a root in base64 is wanted") from None
        if len(found.root) != 32:
            raise CannotVerifyError(f"{text!r}: a root has 32 bytes")
        return found
    try:
        checkpoint = open_checkpoint(Path(text).read_text(), vkey)
    except (OSError, ValueError) as error:
        raise CannotVerifyError(f"--note {text}: {error}") from None
    return Note(checkpoint.size, checkpoint.root, text)


def load_keys(directory: Path, secret: Path | None, pinned: str | None, notes: tuple[str, ...]) -> Keys:
    """Read the keys; CannotVerifyError if one is named and cannot be used, or the log has none."""
    vkey = _vkey(directory, pinned)
    reviewer, beside = _reviewer(directory, secret)
    numbers = tuple(parse_note(text, vkey) for text in notes)
    return Keys(vkey, pinned is not None, reviewer, beside, numbers, _cosigner(directory))


def _cosigner(directory: Path) -> CosignerKey | None:
    path = directory / layout.COSIGNER_VKEY
    try:
        return parse_cosigner(read_small(path).decode()) if path.exists() else None
    except (OSError, ValueError) as error:
        raise CannotVerifyError(f"{path}: {error}") from None


def _vkey(directory: Path, pinned: str | None) -> VerifierKey:
    if pinned is not None and not Path(pinned).is_file() and "+" not in pinned:
        raise CannotVerifyError(f"--vkey {pinned}: neither a file nor a key such as name+hash+base64")
    path = directory / layout.VKEY if pinned is None else Path(pinned)
    try:
        return parse_vkey(read_small(path).decode() if pinned is None or path.is_file() else pinned)
    except OSError as error:
        raise CannotVerifyError(f"{path}: {error.strerror}: give the log's public key with --vkey") from None
    except ValueError as error:
        raise CannotVerifyError(f"{path}: {error}") from None


def _reviewer(directory: Path, secret: Path | None) -> tuple[ReviewerSecret | None, bool]:
    beside = secret is None
    path = directory / layout.REVIEWER_SECRET if secret is None else secret
    if beside and not path.exists():
        return None, False
    try:
        return parse_secret(read_small(path).decode()), beside
    except (OSError, ValueError) as error:
        raise CannotVerifyError(f"{path}: {error}") from None
