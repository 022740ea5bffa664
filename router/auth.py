"""Who asks: a bearer key to a Caller. Only hashes of 256-bit random keys are held; the check is constant-time."""

from __future__ import annotations

import hashlib
import hmac

from policies import ANONYMOUS, Caller
from router.errors import InvalidKey, OperatorNeeded
from router.settings.snapshot import KeyRule, Snapshot

NOBODY = "0" * 64
MOST = 4096  # headers remembered; then all are forgotten, so that no client can fill the memory
_ADVICE = "Send it as 'Authorization: Bearer KEY'; your operator makes one with 'ringfence keys create'."


class Callers:
    """All keys in force, by their public id (`rf_<id>_<secret>`)."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._keys: dict[str, KeyRule] = {key.id: key for key in snapshot.keys}
        self._callers = snapshot.policy.callers
        self._open = snapshot.policy.any_caller
        self._known: dict[bytes, Caller] = {}  # by digests of whole headers: what is looked for is hashed first

    def authenticate(self, authorization: str) -> Caller:
        """The caller of this Authorization header; InvalidKey (401) if there is none."""
        return self.caller_of(authorization.encode("latin-1", "backslashreplace"))

    def caller_of(self, header: bytes) -> Caller:
        """The same, of the header's value as it came; b"" where there was none."""
        if not self._keys and self._open:
            return ANONYMOUS
        digest = hashlib.sha256(header).digest()
        caller = self._known.get(digest)
        if caller is None:
            caller = self._caller_of(header.decode("latin-1"))
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[digest] = caller
        return caller

    def _caller_of(self, authorization: str) -> Caller:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise InvalidKey(f"An API key is needed. {_ADVICE}")
        rule = self._keys.get(_public_id(key))
        digest = hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).hexdigest()
        good = hmac.compare_digest(digest, rule.sha256 if rule is not None else NOBODY)
        caller = self._callers.get(rule.caller) if rule is not None and good else None
        if caller is None:
            raise InvalidKey(f"This API key is not known here. {_ADVICE}")
        return caller

    def operator(self, authorization: str) -> Caller:
        """Whose operator's key this is; InvalidKey (401), or OperatorNeeded (403) for everybody else."""
        caller = self.authenticate(authorization)
        rule = self._keys.get(_public_id(authorization.partition(" ")[2]))
        if rule is None or not rule.operator:
            raise OperatorNeeded("This needs an operator's key: 'ringfence keys create NAME --operator'.")
        return caller


def _public_id(key: str) -> str:
    return key.strip().removeprefix("rf_").partition("_")[0]
