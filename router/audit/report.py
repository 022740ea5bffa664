"""One HTML page for an examiner: no script, nothing fetched, every value escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

from router.audit.summary import IDENTITY, Summary, Traffic
from router.audit.verify.findings import Report, Weight
from router.audit.verify.lines import Fields

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}th,td{border:1px solid #bbb;padding:.25rem .5rem;"
    "text-align:left;vertical-align:top;overflow-wrap:anywhere}th{background:#eee}.intact{color:#064}.TAMPERED{color:#a00}"
)
_SEAL_COLUMNS: Final = ("process", "level", "seal", "kernel", "passed", "failed")
_DENIAL_COLUMNS: Final = ("caller", "model", "endpoint", "reason", "param", "request_id")
_POLICY_COLUMNS: Final = ("digest", "source", "actor", "reason")
_Row = Iterable[object]


class _Html(str):
    """Made here, of escaped parts."""

    __slots__ = ()


def _cell(value: object) -> str:
    return value if isinstance(value, _Html) else escape(str(value))


def _table(head: _Row, rows: Iterable[_Row], empty: str) -> str:
    body = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    if not body:
        return f"<p>{escape(empty)}</p>"
    return "<table><tr>" + "".join(f"<th>{escape(str(cell))}</th>" for cell in head) + f"</tr>{body}</table>"


def _fields(body: Fields, *skip: str) -> str:
    return ", ".join(f"{name}: {value}" for name, value in body.items() if name not in skip)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _integrity(report: Report) -> str:
    findings = ((f.weight, "" if f.record is None else f.record, f.message) for f in report.findings)
    checks = _table(("Check", "Result"), report.checks.items(), "Nothing was checked.")
    note = f"{report.first + report.records}:{base64.b64encode(bytes.fromhex(report.root)).decode()}"
    kept = f"<p>For your notebook, and <code>verify --note</code>: <code>{escape(note)}</code></p>"
    return checks + _table(("Weight", "Record", "Finding"), findings, "No findings.") + kept


def _places(traffic: Traffic) -> str:
    return _counts(traffic.addresses) or ("not recorded" if traffic.sent else "nothing was sent")


def _destinations(summary: Summary) -> str:
    rows = (
        (name, _places(traffic), traffic.exchanges, traffic.sent, traffic.received,
         _counts(traffic.endings), _counts(traffic.callers))
        for name, traffic in sorted(summary.upstreams.items())
    )  # fmt: skip
    head = ("Upstream", "Address: bytes", "Exchanges", "Bytes sent", "Bytes received", "Endings", "Callers")
    return _table(head, rows, "Nothing was sent anywhere.")


def _callers(summary: Summary) -> str:
    rows = ((name, use.exchanges, use.sent, use.received, use.refused) for name, use in sorted(summary.callers.items()))
    return _table(("Caller", "Exchanges", "Bytes sent", "Bytes received", "Refused"), rows, "Nobody.")


def _identities(summary: Summary) -> str:
    rows = ((*seen, *moments) for seen, moments in sorted(summary.identities.items()))
    return _table((*map(str.title, IDENTITY), "First", "Last"), rows, "No probe was recorded.")


def _counts(counter: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


def _refusals(summary: Summary) -> str:
    rows = (
        (number, moment, *(body.get(name, "") for name in _DENIAL_COLUMNS)) for number, moment, body in summary.denials
    )
    count, some, reasons = sum(summary.reasons.values()), len(summary.denials), escape(_counts(summary.reasons))
    listed = f" The first {some} are listed; <code>audit show --kind denial</code> has all." if count > some else ""
    head = ("Record", "Time", "Caller", "Model", "Endpoint", "Reason", "Param", "Request")
    return f"<p>{count} in all: {reasons or 'none'}.{listed}</p>" + _table(head, rows, "Nothing was refused.")


def _seals(summary: Summary) -> str:
    """One line each: what the process is held by, and whether its attacks on itself were stopped."""
    rows = (
        (number, moment, body["process"], body["level"], body.get("seal", ""), body.get("kernel", ""), _attacks(body))
        for number, moment, body in summary.seals
    )
    head = ("Record", "Time", "Process", "Level", "Seal", "Kernel", "Attacks on itself")
    return _table(head, rows, "No enforcement was recorded.")


def _attacks(body: Fields) -> _Html:
    stopped, through = body.get("passed", []), body.get("failed", [])
    wrong = f"{len(through)} NOT stopped: {_list(through)}" if through else "none got through"
    told = f"{len(stopped)} stopped, {wrong}"
    whole = f"stopped: {_list(stopped)}; {_fields(body, *_SEAL_COLUMNS)}"
    return _Html(f"<details><summary>{escape(told)}</summary>{escape(whole)}</details>")


def _policies(summary: Summary) -> str:
    rows = (
        (number, moment, body.get("result", "in force"), *(body.get(name, "") for name in _POLICY_COLUMNS))
        for number, moment, body in summary.policies
    )
    return _table(("Record", "Time", "Result", *map(str.title, _POLICY_COLUMNS)), rows, "No policy was recorded.")


def _custody(report: Report, summary: Summary) -> str:
    reviewers = sorted({str(body["reviewer"]) for _, _, body in summary.keys})
    starts = [body for _, _, kind, body in summary.lives if kind == "start"]
    offline = starts and starts[-1]["reviewer"] == "offline"
    held = "was kept elsewhere" if offline else "lay on the router's machine"
    keys = f"sealed to reviewer key {escape(', '.join(reviewers))}; its secret half {held} at the last start"
    epochs = f"{len(summary.keys)} key epoch{'s' if len(summary.keys) != 1 else ''}"
    return (
        f"<p>The log's signing key belongs to the gate ({escape(report.origin)}). "
        f"MAC keys exist in the gate's memory only, {keys}. {epochs}.</p>"
    )


def _headline(report: Report, summary: Summary) -> str:
    verdict, span = report.verdict(), f"{summary.first} to {summary.last} UTC"
    told = f"{report.records} records, {span}, root {report.root}"
    unchecked = report.counts.get(Weight.UNCHECKED, 0)
    but = f" <strong>{unchecked} checks could not be made</strong>, see below." if unchecked else ""
    return f"<p class='{escape(verdict.split()[0])}'><strong>{escape(verdict)}</strong>: {escape(told)}.{but}</p>"


def render(report: Report, summary: Summary) -> str:
    """The whole page."""
    lives = ((number, moment, kind, _fields(body, "boot")) for number, moment, kind, body in summary.lives)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Ringfence ledger report</title>",
        f"<style>{_STYLE}</style><h1>Ledger {escape(report.log)}</h1>",
        _headline(report, summary),
        "<h2>Was anything modified, deleted or inserted?</h2>",
        _integrity(report),
        "<h2>Who holds keys?</h2>",
        _custody(report, summary),
        "<h2>Which destinations received how many bytes?</h2>",
        _destinations(summary),
        "<h2>What answered there?</h2>",
        _identities(summary),
        "<h2>Who asked?</h2>",
        _callers(summary),
        "<h2>How far did prompts travel?</h2>",
        _table(("Reach", "Exchanges"), sorted(summary.reaches.items()), "Nowhere."),
        "<h2>Which requests were refused, and why?</h2>",
        _refusals(summary),
        "<h2>Which seal was in force, and when?</h2>",
        _seals(summary),
        "<h2>Which policy was in force, and when?</h2>",
        _policies(summary),
        "<h2>Starts, stops, gaps, erasures and orders</h2>",
        _table(("Record", "Time", "Event", "Details"), lives, "None."),
    ]
    return "\n".join(parts) + "\n"
