"""What the records tell together: exchanges that do not end, clocks, silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from router.audit import Kind, Ledger
from tests.audit.attacker import Forger, Record, steal
from tests.audit.ledgers import (
    DECISION,
    WAIT_S,
    agreed,
    build,
    check,
    codes,
    exchange,
    settings,
)


def _later(record: Record, by_us: int) -> object:
    record["mono"], record["t"] = record["mono"] + by_us, record["t"] + by_us
    return record


def outcome_of(records: list[Record], decision: int) -> None:
    """In a denial's place, so that no other record's index changes."""
    denial = next(record for record in records if record["kind"] == "denial")
    denial.update(kind="outcome", body={"decision": decision, "ending": "completed"})


BODIES: dict[str, tuple[Callable[[list[Record]], Any], str]] = {
    "a second outcome": (lambda r: r.insert(5, dict(r[4])), "orphan"),
    "an outcome of a record that never was": (lambda r: outcome_of(r, -1), "orphan"),
    "an outcome of a record still to come": (lambda r: outcome_of(r, 2**53 - 1), "orphan"),
    "an outcome before its decision": (lambda r: r[4]["body"].update(decision=20), "orphan"),
    "a list for a number": (lambda r: r[4]["body"].update(decision=[]), "body"),
    "a missing field": (lambda r: r[3]["body"].pop("upstream"), "body"),
    "an unknown kind": (lambda r: r[2].update(kind="gossip"), "body"),
    "an hour of silence": (lambda r: [x.update(mono=x["mono"] + 9 * 3_600_000_000) for x in r[5:]], "silence"),
    "hours of silence by both clocks": (lambda r: [_later(x, 9 * 3_600_000_000) for x in r[5:]], "silence"),
    "time running back": (lambda r: r[5].update(mono=r[4]["mono"] - 1), "time"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_story_that_does_not_hold_is_named(bad: Path, name: str) -> None:
    """Written by someone with all keys, or by a compromised writer: MACs and signatures are right."""
    edit, code = BODIES[name]
    forger = Forger(bad, steal(bad, mac_at=0, signing=True))
    edit(forger.records)
    forger.rebuild()
    found = set(codes(agreed(bad)))
    assert code in found
    assert found <= {code, "open", "orphan"}  # an exchange that is not whole may show twice


def test_a_clock_that_was_set_is_noted(bad: Path) -> None:
    forger = Forger(bad, steal(bad, mac_at=0, signing=True))
    for record in forger.records[5:]:
        record["t"] += 3_600_000_000
    forger.rebuild()
    report = check(bad)
    assert report.exit_code() == 0
    assert "before it the wall clock was set by 3600 s" in [finding.message for finding in report.findings]


def test_a_decision_without_outcome_is_missed_after_a_stop(bad: Path) -> None:
    forger = Forger(bad, steal(bad, mac_at=0, signing=True))
    forger.records[:] = [r for at, r in enumerate(forger.records) if at != 4]
    forger.rebuild()
    report = check(bad)
    assert "open" in codes(report)


def test_another_boot_may_have_another_clock(bad: Path) -> None:
    build(bad, exchanges=1)
    forger = Forger(bad, steal(bad, mac_at=0, signing=True))
    place = max(at for at, record in enumerate(forger.records) if record["kind"] == "key_epoch")
    forger.records[place]["body"]["boot"] = "another-boot"
    for at, record in enumerate(forger.records[place:]):
        record["mono"] = at
    forger.rebuild()
    assert "time" not in codes(check(bad))


def test_a_running_log_is_verified_as_far_as_it_goes(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))
    exchange(ledger)
    report = check(tmp_path)
    ledger.close()
    assert report.exit_code() == 0
    assert "running" in [finding.code for finding in report.findings]


def test_an_exchange_under_way_is_a_note(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))
    ticket = ledger.append(Kind.DECISION, DECISION)
    ticket.wait(WAIT_S)
    report = check(tmp_path)
    assert (report.exit_code(), [f.record for f in report.findings if f.code == "open"]) == (0, [ticket.index])
    ledger.close()
    assert check(tmp_path).exit_code() == 2


def test_a_flood_of_open_decisions_is_given_up(bad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.audit.verify.story.MOST_OPEN", 3)
    forger = Forger(bad, steal(bad, mac_at=0, signing=True))
    forger.records[:] = [r for r in forger.records if r["kind"] != "outcome"]
    forger.rebuild()
    assert codes(check(bad)).count("open") == 2  # two floods of four among eight
