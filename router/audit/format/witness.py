"""What a witness says about a log: C2SP tlog-cosignature, Ed25519 (cosignature/v1, type 0x04)."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from router.audit.format.notes import Checkpoint, NoteError, decode_base64, note_signatures

COSIGNATURE_V1: Final = 4
_BLOB: Final = 4 + 8 + 64  # key id, time, signature


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """A witness's name and its Ed25519 public key (32 bytes)."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([COSIGNATURE_V1]) + self.public).digest()[:4]

    def text(self) -> str:
        """The vkey."""
        encoded = base64.b64encode(bytes([COSIGNATURE_V1]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def cosigned_at(self, checkpoint: Checkpoint, note: str) -> int:
        """When it cosigned, in seconds since 1970; NoteError unless the note carries its line, and a right one."""
        ours = [blob for name, blob in note_signatures(note) if name == self.name and blob[:4] == self.key_id]
        if not ours:
            raise NoteError(f"no cosignature by {self.text()}")
        for blob in ours:
            self._check(checkpoint, blob)
        return min(int.from_bytes(blob[4:12], "big") for blob in ours)

    def _check(self, checkpoint: Checkpoint, blob: bytes) -> None:
        moment = int.from_bytes(blob[4:12], "big")
        if len(blob) != _BLOB:
            raise NoteError(f"the cosignature of {self.name} has another length")
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(blob[12:], cosigned_text(checkpoint, moment))
        except InvalidSignature:
            raise NoteError(f"the cosignature of {self.name} is wrong") from None


def cosigned_text(checkpoint: Checkpoint, moment: int) -> bytes:
    """What a witness signs."""
    return f"cosignature/v1\ntime {moment}\n{checkpoint.text()}".encode()


def parse_witness(text: str) -> WitnessKey:
    """Read a vkey of type 0x04; NoteError otherwise."""
    name, _, rest = text.strip().partition("+")
    stated, _, encoded = rest.partition("+")
    raw = decode_base64(encoded)
    found = WitnessKey(name, raw[1:])
    if not name or len(raw) != 33 or raw[0] != COSIGNATURE_V1 or found.key_id.hex() != stated:
        raise NoteError("not a witness's key: name+hash+base64 of type 0x04 (cosignature/v1) is wanted")
    return found
