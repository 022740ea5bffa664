"""The writer's half of the second, post-quantum signature (format/cosignature.py)."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from router.audit.format.cosignature import CosignerKey, cosigned_message
from router.audit.format.notes import Checkpoint


class Cosigner:
    """The private half, in the writer only."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = MLDSA44PrivateKey.from_seed_bytes(seed)
        self.verifier = CosignerKey(name, self._key.public_key().public_bytes_raw())

    def line(self, checkpoint: Checkpoint, timestamp: int) -> str:
        """The signature line to append to a checkpoint's note."""
        signature = self._key.sign(cosigned_message(self.verifier.name, timestamp, checkpoint))
        blob = self.verifier.key_hash + timestamp.to_bytes(8, "big") + signature
        return f"\u2014 {self.verifier.name} {base64.b64encode(blob).decode()}\n"
