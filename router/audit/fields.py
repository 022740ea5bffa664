"""The closed list of what a record's body may hold, and of which type: content has no field to slip in by.

Names and texts are bounded and reduced to printable ASCII without quotes or backslashes, so a body has one spelling in
JSON, a terminal shows what it says, and no line can be broken. Keyed digests are hexadecimal of a fixed length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec

from router.audit.errors import LedgerFieldError
from router.audit.kinds import Kind

JsonValue: TypeAlias = str | int | float | bool | list[str] | None
Check: TypeAlias = Callable[[object], JsonValue]

MOST_NAME: Final = 128
MOST_TEXT: Final = 240
MOST_LIST: Final = 64
MOST_SEALED: Final = 8192
MOST_COUNT: Final = 2**53 - 1  # what every JSON reader holds exactly
_NOT_NAME: Final = re.compile(r"[^A-Za-z0-9._:/@+=,~-]")
_NOT_TEXT: Final = re.compile(r"[^A-Za-z0-9._:/@+=,~ ()%;-]")
_HEX: Final = re.compile(r"[0-9a-f]{16,128}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{4,}={0,2}")


def _name(value: object) -> str:
    if type(value) is not str:
        value = _plain(value)
    if _NOT_NAME.search(value) is None and len(value) <= MOST_NAME:
        return value
    return _NOT_NAME.sub("_", value[:MOST_NAME])


def _text(value: object) -> str:
    return _NOT_TEXT.sub("_", _plain(value)[:MOST_TEXT])


def _plain(value: object) -> str:
    if not isinstance(value, str):
        raise LedgerFieldError(f"a string is wanted, not {type(value).__name__}")
    return str(value)


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MOST_COUNT:
        raise LedgerFieldError(f"a count from 0 to 2^53-1 is wanted, not {value!r}")
    return value


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise LedgerFieldError(f"true or false is wanted, not {value!r}")
    return value


def _millis(value: object) -> float:
    """Milliseconds to the microsecond; -1 means that it never happened."""
    if type(value) not in {int, float} or not -1 <= value <= 1e12:  # type: ignore[operator]  # the type is known by here
        raise LedgerFieldError(f"milliseconds are wanted, not {value!r}")
    return round(float(value), 3)  # type: ignore[arg-type]  # likewise


def _matching(pattern: re.Pattern[str], most: int, wanted: str) -> Check:
    def check(value: object) -> str:
        if not isinstance(value, str) or len(value) > most or pattern.fullmatch(value) is None:
            raise LedgerFieldError(f"{wanted} is wanted")
        return str(value)

    return check


def _list_of(check: Check) -> Check:
    def check_all(value: object) -> list[str]:
        if not isinstance(value, list | tuple) or len(value) > MOST_LIST:
            raise LedgerFieldError(f"a list of at most {MOST_LIST} is wanted")
        return [str(check(item)) for item in value]

    return check_all


_hex: Final = _matching(_HEX, 128, "16 to 128 lower-case hexadecimal digits")
_sealed: Final = _matching(_BASE64, MOST_SEALED, "base64")

_ASKED: Final[Mapping[str, Check]] = {"request_id": _name, "caller": _name, "model": _name, "endpoint": _name}
_CHANGE: Final[Mapping[str, Check]] = {
    "digest": _name,
    "previous": _name,
    "source": _name,
    "result": _name,
    "actor": _name,
}

REQUIRED: Final[Mapping[Kind, Mapping[str, Check]]] = {
    Kind.START: {
        "version": _name,
        "pid": _count,
        "durability": _name,
        "previous": _name,
        "reviewer": _name,
        "heartbeat_s": _count,
    },
    Kind.STOP: {"reason": _name},
    Kind.POLICY: {"digest": _name},
    Kind.ENFORCEMENT: {"process": _name, "level": _name},
    Kind.PROBE: {"upstream": _name, "state": _name},
    Kind.DECISION: {**_ASKED, "upstream": _name, "policy": _name, "reason": _name},
    Kind.OUTCOME: {"decision": _count, "ending": _name},
    Kind.DENIAL: {**_ASKED, "reason": _name},
    Kind.HEARTBEAT: {"open": _count},
    Kind.KEY_EPOCH: {
        "purpose": _name,
        "suite": _name,
        "sealed": _sealed,
        "reviewer": _hex,
        "boot": _name,
        "sig": _sealed,
    },
    Kind.CHECKPOINT: {"size": _count, "root": _hex, "sig": _sealed, "oldest_open": _count},
    Kind.RECOVERY_GAP: {"bytes": _count, "reason": _name},
    Kind.ERASURE: {"subject": _name, "reason": _name},
    Kind.RELOAD: {"result": _name},
    Kind.ADMIN: {"action": _name},
}
OPTIONAL: Final[Mapping[Kind, Mapping[str, Check]]] = {
    Kind.START: {"checkpoint_every": _count, "boot": _name},
    Kind.STOP: {"open": _count},
    Kind.POLICY: _CHANGE,
    Kind.ENFORCEMENT: {
        "pid": _count,
        "seal": _name,
        "kernel": _name,
        "passed": _list_of(_name),
        "failed": _list_of(_name),
    },
    Kind.PROBE: {
        "backend": _name,
        "software": _name,
        "tier": _name,
        "status": _count,
        "ms": _millis,
        "reason": _name,
        "cold": _flag,
        "address": _name,
    },
    Kind.DECISION: {
        "served_model": _name,
        "tier": _name,
        "reach": _name,
        "attempt": _count,
        "body_bytes": _count,
        "stream": _flag,
        "prompt_mac": _hex,
        "message_macs": _list_of(_hex),
        "capture": _hex,
        "address": _name,
    },
    Kind.OUTCOME: {
        "status": _count,
        "sent_bytes": _count,
        "received_bytes": _count,
        "first_byte_ms": _millis,
        "total_ms": _millis,
        "tokens_in": _count,
        "tokens_out": _count,
        "answer_mac": _hex,
        "capture": _hex,
        "address": _name,
    },
    Kind.DENIAL: {
        "param": _name,
        "reach": _name,
        "policy": _name,
        "tier": _name,
        "upstream": _name,
        "body_bytes": _count,
    },
    Kind.KEY_EPOCH: {"day": _name},
    Kind.RECOVERY_GAP: {"quarantine": _name, "lost_from": _count, "detail": _text},
    Kind.ERASURE: {"actor": _name, "day": _name, "capture": _hex, "count": _count},
    Kind.RELOAD: _CHANGE,
    Kind.ADMIN: {"actor": _name, "target": _name, "result": _name, "digest": _name, "detail": _text},
}
_CHECKS: Final = {kind: {**REQUIRED[kind], **OPTIONAL.get(kind, {})} for kind in Kind}
_encode: Final = msgspec.json.Encoder().encode


def encode_body(kind: Kind, body: Mapping[str, object]) -> bytes:
    """The body as JSON, in its one spelling; LedgerFieldError names the field that has no place in it."""
    checks = _CHECKS[kind]
    checked: dict[str, JsonValue] = {}
    for field, value in body.items():
        check = checks.get(field)
        if check is None:
            raise LedgerFieldError(f"{kind} has no field {field!r}: see docs/ledger-format.md")
        try:
            checked[field] = check(value)
        except LedgerFieldError as error:
            raise LedgerFieldError(f"{kind}.{field}: {error}") from None
    missing = REQUIRED[kind].keys() - checked.keys()
    if missing:
        raise LedgerFieldError(f"{kind} lacks {sorted(missing)}")
    return _encode(checked)
