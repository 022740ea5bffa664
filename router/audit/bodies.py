"""A record's body as bytes, in its one spelling, by the closed list of fields.

Strings are at most 128 printable ASCII characters without quotes, backslashes, angle brackets and ampersands; anything
else becomes "_", and what was cut ends with "~". So a body has one spelling in JSON, a terminal or a table shows it
harmlessly, and no string can break a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET

from router.audit.errors import LedgerFieldError
from router.audit.fields import DIGESTS, FORMS, MILLIS, MOST_NAME, Body, Outcome
from router.audit.kinds import Kind

MOST_MILLIS: Final = 1e12
SAFE: Final = bytes(code for code in range(32, 127) if chr(code) not in "\\<>&'`")  # of a whole body
HARMLESS: Final = SAFE.replace(b'"', b"")  # in one string
_HARMLESS: Final = frozenset(HARMLESS.decode())
HEXADECIMAL: Final = b"0123456789abcdef"
_encode: Final = msgspec.json.Encoder().encode


def form_of(kind: Kind, body: Mapping[str, object]) -> Body:
    """The body as a form of its kind, clean already: what of many records is the same is looked at once.
    LedgerFieldError names what has no place in it.
    """
    form = _converted(kind, body)
    return _cleaned(kind, body) if _encode(form).translate(None, SAFE) else form


def encode_body(kind: Kind, body: Mapping[str, object] | Body) -> bytes:
    """The body as JSON, in its one spelling; LedgerFieldError names what has no place in it.

    A form is of the right types already, and what names it holds are short: `form_of` made it, or our own code did.
    """
    form = body if isinstance(body, Body) else _converted(kind, body)
    _settle(kind, form)
    data = _encode(form)
    return _encode(_cleaned(kind, msgspec.to_builtins(form))) if data.translate(None, SAFE) else data


def _converted(kind: Kind, body: Mapping[str, object]) -> Body:
    try:
        return msgspec.convert(body, FORMS[kind])
    except msgspec.ValidationError:
        return _cleaned(kind, body)


def _cleaned(kind: Kind, body: Mapping[str, object]) -> Body:
    try:
        return msgspec.convert({field: _clean(value) for field, value in body.items()}, FORMS[kind])
    except msgspec.ValidationError as error:
        raise _mistake(kind, str(error)) from None


def _clean(value: object) -> object:
    if isinstance(value, str):
        text = value if len(value) <= MOST_NAME else value[: MOST_NAME - 1] + "~"
        return "".join(char if char in _HARMLESS else "_" for char in text)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value


def _settle(kind: Kind, form: Body) -> None:
    """What the types do not say: digests are hexadecimal; milliseconds have three decimals, and so one spelling."""
    for field in DIGESTS.get(kind, ()):
        value = getattr(form, field)
        if value is UNSET:
            continue
        text = value if value.__class__ is str else "".join(value)
        if not text.isascii() or text.encode().translate(None, HEXADECIMAL):
            raise _mistake(kind, f"{field} is not in hexadecimal")
    for field in MILLIS.get(kind, ()):
        value = getattr(form, field)
        if value is UNSET:
            continue
        if not -1 <= value <= MOST_MILLIS:
            raise _mistake(kind, f"{field} is {value}: -1 to 10^12 is wanted")
        setattr(form, field, round(value, 3))


def body_decision(kind: Kind, body: Mapping[str, object] | Body) -> int:
    """The decision that an outcome closes; -1 if none."""
    if isinstance(body, Outcome):
        return body.decision
    decision = body.get("decision") if kind is Kind.OUTCOME and not isinstance(body, Body) else None
    return decision if isinstance(decision, int) else -1


def _mistake(kind: Kind, what: str) -> LedgerFieldError:
    return LedgerFieldError(f"a record of kind {kind}: {what}. See docs/ledger-format.md")
