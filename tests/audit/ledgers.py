"""Real ledgers for the tests: small, with checkpoints that come by count and never by the clock."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from router.audit import Durability, Kind, Ledger, LedgerSettings
from router.audit.codec import CODEC
from router.audit.format import layout
from router.audit.format.notes import VerifierKey, parse_vkey
from router.audit.format.seal import ReviewerSecret, parse_secret
from router.audit.format.segments import CHUNK, list_segments, segment_lines
from router.audit.verify.check import verify
from router.audit.verify.findings import Report
from router.audit.verify.keys import Keys, Note
from router.audit.verify.lines import STANDARD
from router.audit.verify.parts import examine, verify_parts
from router.audit.verify.story import Story
from router.audit.verify.stream import Stream

WAIT_S = 20.0
DECISION: Mapping[str, object] = {
    "request_id": "req-1",
    "caller": "alice",
    "model": "m",
    "served_model": "m-7b",
    "endpoint": "chat/completions",
    "tier": "gpu",
    "upstream": "gpu-1",
    "reach": "network",
    "attempt": 1,
    "policy": "ab" * 32,
    "reason": "allowed",
    "body_bytes": 120,
}
DENIAL: Mapping[str, object] = {
    "request_id": "req-2",
    "caller": "bob",
    "model": "gpt-4o",
    "endpoint": "chat/completions",
    "reason": "model_unknown",
    "param": "model",
}


def settings(directory: Path, **changes: Any) -> LedgerSettings:
    """Checkpoints every six records, never by time."""
    small = LedgerSettings(
        directory,
        Durability.ASYNC,
        checkpoint_every=6,
        checkpoint_pause_s=0.0,
        checkpoint_idle_s=3600.0,
        heartbeat_s=3600.0,
        reserve_bytes=4096,
    )
    return msgspec.structs.replace(small, **changes)


def exchange(ledger: Ledger, **outcome: object) -> int:
    """One decision with its outcome; the decision's index."""
    index = ledger.append(Kind.DECISION, DECISION).index
    ending = {"decision": index, "ending": "completed", "status": 200, "sent_bytes": 120, "received_bytes": 900}
    ledger.append(Kind.OUTCOME, {**ending, "first_byte_ms": 1.25, "total_ms": 20.0, **outcome}).wait(WAIT_S)
    return index


def build(directory: Path, exchanges: int = 12, runs: int = 1, **changes: Any) -> Path:
    """A closed ledger of `runs` processes with so many exchanges each, and one denial."""
    for _ in range(runs):
        ledger = Ledger.open(settings(directory, **changes))
        ledger.append(Kind.POLICY, {"digest": "ab" * 32, "source": "defaults"})
        for _ in range(exchanges):
            exchange(ledger)
        ledger.append(Kind.DENIAL, DENIAL)
        ledger.close()
    return directory


def copy(directory: Path, target: Path) -> Path:
    return Path(shutil.copytree(directory, target))


def raw_lines(directory: Path) -> list[bytes]:
    return [line for _, path in list_segments(directory) for line in segment_lines(path)]


def fields(directory: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in raw_lines(directory)]


def kinds(directory: Path) -> list[str]:
    return [record["kind"] for record in fields(directory)]


def vkey(directory: Path) -> VerifierKey:
    return parse_vkey((directory / layout.VKEY).read_text())


def reviewer(directory: Path) -> ReviewerSecret:
    return parse_secret((directory / layout.REVIEWER_SECRET).read_text())


def all_keys(directory: Path, *notes: Note) -> Keys:
    """A reviewer who has everything."""
    return Keys(vkey(directory), pinned=True, reviewer=reviewer(directory), notes=notes)


def check(directory: Path, keys: Keys | None = None) -> Report:
    return verify(directory, keys or all_keys(directory), CODEC)


def agreed(directory: Path, keys: Keys | None = None) -> Report:
    """The report, after every way to come to it agreed: many lines at once or one by one, by either codec, wherever
    the blocks of lines begin and end. Not for a ledger that is being written.
    """
    keys, reports = keys or all_keys(directory), []
    for codec in (CODEC, STANDARD):
        for size in (CHUNK, 4000, 1500, 700):
            with patch("router.audit.format.segments.CHUNK", size):
                reports.append(verify(directory, keys, codec))
        with tempfile.TemporaryDirectory() as scratch:
            parts = verify_parts(directory, keys, codec, partial(map, examine), Path(scratch))
        reports.append(parts or reports[-1])
    with patch.object(Stream, "_read_whole", lambda *_: None), patch.object(Story, "_is_usual", lambda *_: False):
        exact = verify(directory, keys, STANDARD)
    for report in reports:
        assert Counter(report.findings) == Counter(exact.findings)
        assert replace(report, findings=[]) == replace(exact, findings=[])
    return exact


def codes(report: Report) -> list[str]:
    return [str(finding.code) for finding in report.findings if finding.weight in ("tampered", "incomplete")]


def crashed(directory: Path, exchanges: int = 5, **changes: Any) -> Path:
    """A ledger whose writer died with one exchange under way: the state of its files at that moment."""
    alive = directory.with_name(directory.name + "-alive")
    ledger = Ledger.open(settings(alive, **changes))
    for _ in range(exchanges):
        exchange(ledger)
    ledger.append(Kind.DECISION, DECISION).wait(WAIT_S)
    found = copy(alive, directory)
    ledger.close()
    shutil.rmtree(alive)
    return found
