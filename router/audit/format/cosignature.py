"""A second, post-quantum signature under a checkpoint: C2SP tlog-cosignature, ML-DSA-44 (type 0x06)."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature

from router.audit.format.notes import Checkpoint, NoteError, decode_base64, note_signatures

ML_DSA_44: Final = 6
PUBLIC_BYTES: Final = 1312


@dataclass(frozen=True, slots=True)
class CosignerKey:
    """The public half: the log's name, and 1312 bytes."""

    name: str
    public: bytes

    @property
    def key_hash(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([ML_DSA_44]) + self.public).digest()[:4]

    def text(self) -> str:
        """The vkey."""
        return f"{self.name}+{self.key_hash.hex()}+{base64.b64encode(bytes([ML_DSA_44]) + self.public).decode()}"

    def check(self, checkpoint: Checkpoint, note: str) -> None:
        """NoteError unless the note carries this key's signature over `checkpoint`, and no wrong one.

        ImportError: the library has no ML-DSA; few logs need it, and older versions of it lack it.
        """
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey  # noqa: PLC0415 - as just said

        ours = [blob[4:] for name, blob in note_signatures(note) if name == self.name and blob[:4] == self.key_hash]
        if not ours:
            raise NoteError(f"no ML-DSA-44 signature by {self.name}")
        key = MLDSA44PublicKey.from_public_bytes(self.public)
        for blob in ours:
            try:
                key.verify(blob[8:], cosigned_message(self.name, int.from_bytes(blob[:8], "big"), checkpoint))
            except (InvalidSignature, ValueError):
                raise NoteError(f"the ML-DSA-44 signature of {self.name} is wrong") from None


def parse_cosigner(text: str) -> CosignerKey:
    """Read a vkey of type 0x06; NoteError otherwise."""
    name, _, rest = text.strip().partition("+")
    stated, _, encoded = rest.partition("+")
    raw = decode_base64(encoded)
    found = CosignerKey(name, raw[1:])
    if not name or len(raw) != PUBLIC_BYTES + 1 or raw[0] != ML_DSA_44 or found.key_hash.hex() != stated:
        raise NoteError("not an ML-DSA-44 verifier key")
    return found


def cosigned_message(name: str, timestamp: int, checkpoint: Checkpoint) -> bytes:
    """What is signed (tlog-cosignature, ML-DSA-44 signed message); the time is in seconds since 1970."""
    origin = checkpoint.origin.encode()
    parts = [b"subtree/v1\n\x00", bytes([len(name.encode())]), name.encode(), timestamp.to_bytes(8, "big")]
    parts += [bytes([len(origin)]), origin, bytes(8), checkpoint.size.to_bytes(8, "big"), checkpoint.root]
    return b"".join(parts)
