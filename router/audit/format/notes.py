"""Signed notes and checkpoints as C2SP specifies them (signed-note, tlog-checkpoint), with Ed25519 (type 0x01)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519: Final = 1
MOST_NOTE_BYTES: Final = 65_536
_DASH: Final = "\u2014 "


class NoteError(ValueError):
    """Not a signed note, not a checkpoint, or not signed by the key we asked for."""


@lru_cache(maxsize=8)
def _public(raw: bytes) -> Ed25519PublicKey:
    """A log is verified with one key, thousands of times."""
    return Ed25519PublicKey.from_public_bytes(raw)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's promise: these `size` records, in this order, and no others, have this root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note's text, as signed. The grammar admits one spelling only."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key and the name that it signs under."""

    name: str
    public: bytes

    @property
    def key_hash(self) -> bytes:
        """Four bytes that a signature line begins with: a hint, not an identity."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([ED25519]) + self.public).digest()[:4]

    def text(self) -> str:
        """The vkey: name, key hash, key."""
        return f"{self.name}+{self.key_hash.hex()}+{base64.b64encode(bytes([ED25519]) + self.public).decode()}"

    def verify(self, message: bytes, signature: bytes) -> None:
        """NoteError unless `signature` (64 bytes) is this key's over `message`."""
        try:
            _public(self.public).verify(signature, message)
        except InvalidSignature:
            raise NoteError(f"the signature of {self.name} is wrong") from None


def parse_vkey(text: str) -> VerifierKey:
    """Read a vkey; NoteError says what is wrong with it."""
    name, _, rest = text.strip().partition("+")
    stated, _, encoded = rest.partition("+")
    key = decode_base64(encoded)
    if not name or len(key) != 33 or key[0] != ED25519:
        raise NoteError("not an Ed25519 verifier key: name+hash+base64 is wanted")
    found = VerifierKey(name, key[1:])
    if found.key_hash.hex() != stated:
        raise NoteError(f"the verifier key of {name} does not have the hash it states")
    return found


class Signer:
    """The private half, in the writer only."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = VerifierKey(name, self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def note(self, text: str) -> str:
        """The signed note over `text`."""
        blob = self.verifier.key_hash + self.sign(text.encode())
        return f"{text}\n{_DASH}{self.verifier.name} {base64.b64encode(blob).decode()}\n"


def open_note(note: str, key: VerifierKey) -> str:
    """The text of a note, if `key` signed it. Signatures by unknown keys are ignored, bad ones by ours are not."""
    ours = [blob for name, blob in note_signatures(note) if _is_by(name, blob, key)]
    if not ours:
        raise NoteError(f"no signature by {key.name}+{key.key_hash.hex()}")
    text = note.rpartition("\n\n")[0] + "\n"
    for blob in ours:
        key.verify(text.encode(), blob[4:])
    return text


def note_signatures(note: str) -> list[tuple[str, bytes]]:
    """Names and signatures (key hash first) under a note; NoteError if it is none."""
    _, gap, signatures = note.rpartition("\n\n")
    if not gap or len(note) > MOST_NOTE_BYTES or not signatures.endswith("\n"):
        raise NoteError("not a signed note")
    return [_signature(line) for line in signatures[:-1].split("\n")]


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """A verified checkpoint; NoteError unless `key` signed it and its origin is the key's own name."""
    checkpoint = parse_checkpoint(open_note(note, key))
    if checkpoint.origin != key.name:
        raise NoteError(f"the checkpoint is of {checkpoint.origin}, not of {key.name}")
    return checkpoint


def parse_checkpoint(text: str) -> Checkpoint:
    """Read an unsigned checkpoint text; anything but its one spelling (007, a fourth line) is refused."""
    lines = text.split("\n")
    if len(lines) != 4 or not lines[1].isascii() or not lines[1].isdigit():
        raise NoteError("not a checkpoint: origin, size and root are wanted, a line each")
    found = Checkpoint(lines[0], int(lines[1]), decode_base64(lines[2]))
    if found.text() != text or len(found.root) != 32 or not found.origin:
        raise NoteError("the checkpoint is not in its one spelling")
    return found


def _is_by(name: str, blob: bytes, key: VerifierKey) -> bool:
    return name == key.name and blob[:4] == key.key_hash


def _signature(line: str) -> tuple[str, bytes]:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not name or len(encoded) < 8:
        raise NoteError("a line below the note is not a signature")
    return name, decode_base64(encoded)


def decode_base64(text: str) -> bytes:
    """Strict base64; NoteError otherwise."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("not base64") from None
