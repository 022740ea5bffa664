"""Verified records in other people's formats: OCSF 1.x (API Activity), CEF, CSV. The ledger's own is the truth."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any, Final

import msgspec

from router.audit.show import moment_text
from router.audit.verify.batch import Record

Render = Callable[[Record], str | None]

_OCSF_VERSION: Final = "1.6.0"
_ACTIVITY: Final = {"decision": (1, "Create"), "outcome": (2, "Read"), "denial": (1, "Create")}
_COLUMNS: Final = (
    "index",
    "time",
    "kind",
    "decision",
    "request_id",
    "caller",
    "model",
    "served_model",
    "endpoint",
    "tier",
    "upstream",
    "reach",
    "attempt",
    "reason",
    "ending",
    "status",
    "body_bytes",
    "sent_bytes",
    "received_bytes",
    "first_byte_ms",
    "total_ms",
    "policy",
    "mac",
)
_CEF_FIELDS: Final = {
    "request_id": "externalId", "caller": "suser", "upstream": "dhost", "endpoint": "request", "reason": "reason",
    "ending": "outcome", "sent_bytes": "out", "received_bytes": "in",
}  # fmt: skip


def csv_header() -> str:
    return ",".join(_COLUMNS)


def to_csv(record: Record) -> str:
    """One row; a field that begins like a formula is quoted with an apostrophe, for spreadsheets."""
    body = record.body
    told: dict[str, Any] = {
        **body,
        "index": record.number,
        "time": moment_text(record.t),
        "kind": record.kind,
        "mac": record.mac,
    }
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([_cell(told.get(name, "")) for name in _COLUMNS])
    return out.getvalue()


def _cell(value: Any) -> str:
    text = str(value)
    return f"'{text}" if text[:1] in "=+@\t" and text else text


def to_cef(record: Record) -> str:
    """ArcSight's Common Event Format, version 0."""
    body = record.body
    severity = 5 if record.kind in ("denial", "recovery_gap") else 1
    told = {"rt": record.t // 1000, "cn1": record.number, "cn1Label": "ledgerIndex"}
    told |= {theirs: body[ours] for ours, theirs in _CEF_FIELDS.items() if ours in body}
    extension = " ".join(f"{name}={_cef(value)}" for name, value in told.items())
    return f"CEF:0|Ringfence|ringfence|1|{record.kind}|{record.kind}|{severity}|{extension}"


def _cef(value: Any) -> str:
    return str(value).replace("\\", "\\\\").replace("=", "\\=")


def to_ocsf(record: Record) -> str | None:
    """API Activity (class 6003) for exchanges; None for records that are no API activity."""
    body = record.body
    if record.kind not in _ACTIVITY:
        return None
    number, name = _ACTIVITY[record.kind]
    denied = record.kind == "denial"
    event: dict[str, Any] = {
        "metadata": {
            "version": _OCSF_VERSION,
            "profiles": ["ai_operation", "record_integrity"],
            "product": {"name": "Ringfence", "vendor_name": "Ringfence"},
            "uid": f"{record.log}-{record.number}",
            "correlation_uid": body.get("request_id", f"decision-{body.get('decision')}"),
        },
        "category_uid": 6,
        "category_name": "Application Activity",
        "class_uid": 6003,
        "class_name": "API Activity",
        "activity_id": number,
        "activity_name": name,
        "type_uid": 600300 + number,
        "severity_id": 2 if denied else 1,
        "time": record.t // 1000,
        "status_id": 2 if denied else 1,
        "status_detail": body.get("reason", body.get("ending", "")),
        "actor": {"user": {"name": body.get("caller", "")}},
        "api": {"operation": body.get("endpoint", ""), "request": {"uid": body.get("request_id", "")}},
        "src_endpoint": {"name": body.get("caller", "")},
        "dst_endpoint": {"name": body.get("upstream", "")},
        "attestation_list": [
            {"fingerprint": {"algorithm_id": 3, "value": record.leaf.hex()}, "prev_event": record.prev.hex()}
        ],
        "unmapped": {"kind": record.kind, "index": record.number, **body},
    }
    return msgspec.json.encode(event).decode()


FORMATS: Final[dict[str, Render]] = {"ocsf": to_ocsf, "cef": to_cef, "csv": to_csv}
