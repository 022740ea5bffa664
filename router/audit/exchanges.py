"""The two records of an exchange, encoded for speed: they are most of a ledger, and a request waits for one of them.

What all decisions of the same names have in common is checked and written once, ahead; then only what each has of its
own is looked at. Both give the very bytes of `encode_body`, which also takes over whatever is not as usual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import UNSET

from router.audit.bodies import HARMLESS, HEXADECIMAL, MOST_MILLIS, SAFE, encode_body, form_of
from router.audit.fields import MOST_NAME, Outcome
from router.audit.kinds import Kind

_DECISION, _OUTCOME = Kind.DECISION, Kind.OUTCOME  # the interpreter is slow to find them in their class
_BEGIN: Final = len('{"request_id":"')
_DIGESTS: Final = HEXADECIMAL + b'",'  # and what stands between them
_ANY: Final = "surrogatepass"  # what is no text is not as usual
_encode: Final = msgspec.json.Encoder().encode


class Prepared:
    """The decisions of one caller, model, tier and upstream."""

    __slots__ = ("_form", "_same")

    def __init__(self, body: Mapping[str, object]) -> None:
        """What they have in common: all but the arguments of `encoded`. LedgerFieldError: what has no place in it."""
        self._form = form_of(_DECISION, {**body, "request_id": ""})
        self._same = _encode(self._form)[_BEGIN:-1].decode() + ',"attempt":'

    def encoded(
        self, request_id: str, attempt: int, body_bytes: int, message_macs: Sequence[str], capture: str = ""
    ) -> bytes:
        """The body of one. `message_macs`: as the ledger made them; `capture`: the sealed prompt's name, if any."""
        macs = '","'.join(message_macs)
        if (
            capture
            or macs.encode(errors=_ANY).translate(None, _DIGESTS)
            or request_id.encode(errors=_ANY).translate(None, HARMLESS)
            or len(request_id) > MOST_NAME
        ):
            return self._unusual(request_id, attempt, body_bytes, message_macs, capture)
        macs = f'"{macs}"' if message_macs else ""
        own = f'{attempt},"body_bytes":{body_bytes},"message_macs":[{macs}]}}'
        return f'{{"request_id":"{request_id}{self._same}{own}'.encode()

    def _unusual(
        self, request_id: str, attempt: int, body_bytes: int, message_macs: Sequence[str], capture: str
    ) -> bytes:
        body = msgspec.to_builtins(self._form) | {
            "request_id": request_id,
            "attempt": attempt,
            "body_bytes": body_bytes,
        }
        body["message_macs"] = list(message_macs)
        return encode_body(_DECISION, body | {"capture": capture} if capture else body)


def encode_outcome(told: Outcome) -> bytes:
    """The body of an outcome; its milliseconds are rounded in `told` too."""
    first, total = told.first_byte_ms, told.total_ms
    sealed = told.capture is not UNSET or told.answer_mac is not UNSET
    if sealed or first is UNSET or total is UNSET or not -1 <= first <= MOST_MILLIS or not -1 <= total <= MOST_MILLIS:
        return encode_body(_OUTCOME, told)
    told.first_byte_ms, told.total_ms = round(first, 3), round(total, 3)
    data = _encode(told)
    return encode_body(_OUTCOME, told) if data.translate(None, SAFE) else data
