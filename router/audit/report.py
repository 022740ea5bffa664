"""One HTML page for an examiner: no script, nothing fetched, every value escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

from router.audit.summary import Summary
from router.audit.verify.findings import Report
from router.audit.verify.lines import Fields

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}th,td{border:1px solid #bbb;padding:.25rem .5rem;"
    "text-align:left;vertical-align:top;overflow-wrap:anywhere}th{background:#eee}.intact{color:#064}.TAMPERED{color:#a00}"
)
_Row = Iterable[object]


def _table(head: _Row, rows: Iterable[_Row], empty: str) -> str:
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    if not body:
        return f"<p>{escape(empty)}</p>"
    return "<table><tr>" + "".join(f"<th>{escape(str(cell))}</th>" for cell in head) + f"</tr>{body}</table>"


def _fields(body: Fields, *skip: str) -> str:
    return ", ".join(f"{name}: {value}" for name, value in body.items() if name not in skip)


def _integrity(report: Report) -> str:
    findings = ((f.weight, "" if f.record is None else f.record, f.message) for f in report.findings)
    checks = _table(("Check", "Result"), report.checks.items(), "Nothing was checked.")
    return checks + _table(("Weight", "Record", "Finding"), findings, "No findings.")


def _destinations(summary: Summary) -> str:
    rows = (
        (name, traffic.exchanges, traffic.sent, traffic.received, _counts(traffic.endings), _counts(traffic.callers))
        for name, traffic in sorted(summary.upstreams.items())
    )
    head = ("Upstream", "Exchanges", "Bytes sent", "Bytes received", "Endings", "Callers")
    return _table(head, rows, "Nothing was sent anywhere.")


def _counts(counter: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


def _refusals(summary: Summary) -> str:
    rows = (
        (number, moment, body["caller"], body["model"], body["reason"], body["request_id"])
        for number, moment, body in summary.denials
    )
    total = f"<p>{sum(summary.reasons.values())} in all: {escape(_counts(summary.reasons)) or 'none'}.</p>"
    return total + _table(("Record", "Time", "Caller", "Model", "Reason", "Request"), rows, "Nothing was refused.")


def _custody(report: Report, summary: Summary) -> str:
    reviewers = sorted({str(body["reviewer"]) for _, _, body in summary.keys})
    starts = [body for _, _, kind, body in summary.lives if kind == "start"]
    held = "lies on the router's machine" if starts and starts[-1]["reviewer"] != "offline" else "is kept elsewhere"
    keys = f"sealed to reviewer key {escape(', '.join(reviewers))}; its secret half {held}"
    return (
        f"<p>The log's signing key belongs to the gate ({escape(report.origin)}). "
        f"MAC keys exist in the gate's memory only, {keys}. {len(summary.keys)} key epochs.</p>"
    )


def _headline(report: Report, summary: Summary) -> str:
    verdict, span = report.verdict(), f"{summary.first} to {summary.last} UTC"
    told = f"{report.records} records, {span}, root {report.root}"
    return f"<p class='{escape(verdict.split()[0])}'><strong>{escape(verdict)}</strong>: {escape(told)}.</p>"


def render(report: Report, summary: Summary) -> str:
    """The whole page."""
    seals = ((number, moment, _fields(body)) for number, moment, body in summary.seals)
    policies = ((number, moment, _fields(body)) for number, moment, body in summary.policies)
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
        "<h2>How far did prompts travel?</h2>",
        _table(("Reach", "Exchanges"), sorted(summary.reaches.items()), "Nowhere."),
        "<h2>Which requests were refused, and why?</h2>",
        _refusals(summary),
        "<h2>Which seal was in force, and when?</h2>",
        _table(("Record", "Time", "Seal"), seals, "No enforcement was recorded."),
        "<h2>Which policy was in force, and when?</h2>",
        _table(("Record", "Time", "Policy"), policies, "No policy was recorded."),
        "<h2>Starts, stops, gaps and erasures</h2>",
        _table(("Record", "Time", "Event", "Details"), lives, "None."),
    ]
    return "\n".join(parts) + "\n"
