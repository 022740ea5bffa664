"""`ringfence audit`: receipts, questions about content, exports, the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from router.audit import Kind, Ledger
from router.audit.format import layout
from router.audit.format.proofs import ProofError, parse_receipt
from router.audit.format.segments import list_segments
from router.audit.prove import receipt_for_caller, record_line
from router.audit.summary import Summary
from router.audit.verify.batch import Record
from tests.audit.commands import run
from tests.audit.ledgers import build, copy, exchange, kinds, settings, vkey
from tests.audit.test_content import ANSWER, PROMPT, talk, today


@pytest.fixture
def altered(good: Path, tmp_path: Path) -> Path:
    directory = copy(good, tmp_path / "altered")
    segment = list_segments(directory)[0][1]
    segment.write_bytes(segment.read_bytes().replace(b"gpu-1", b"gpu-2", 1))
    return directory


def test_receipts(good: Path, tmp_path: Path) -> None:
    file, key = tmp_path / "3.tlog-proof", tmp_path / "vkey"
    file.write_text(run("prove", 3, good).output)
    key.write_text(vkey(good).text())
    checked = run("receipt", file, "--vkey", key)
    assert checked.exit_code == 0
    assert json.loads(checked.output)["i"] == 3
    assert run("receipt", file, "--vkey", vkey(good).text()).exit_code == 0
    text = file.read_text()
    for wrong in [
        text.replace("index 3", "index 4"),
        text.replace("extra ", "extra e30K"),
        "nonsense",
        "",
        *halves(text),
    ]:
        file.write_text(wrong)
        assert run("receipt", file, "--vkey", key).exit_code == 1, wrong
    assert run("receipt", tmp_path / "nothing", "--vkey", key).exit_code == 3
    assert run("prove", 24, good).exit_code == 3
    assert "not under a checkpoint yet" in run("prove", 24, good).output


def halves(text: str) -> list[str]:
    """Receipts that lack a part each."""
    lines = text.split("\n")
    return [
        "\n".join(lines[1:]),
        "\n".join([lines[0], *lines[2:]]),
        text.replace("index 3", "index x"),
        text.replace(lines[3], "!!"),
        text.replace(lines[3], "AAAA"),
        text.replace(lines[3] + "\n", ""),
    ]


def test_a_caller_gets_receipts_of_their_own_requests_only(good: Path) -> None:
    receipt = receipt_for_caller(good, 3, "alice")
    parse_receipt(receipt).verify(vkey(good))
    for index, caller in [(3, "bob"), (4, "alice"), (0, "alice")]:
        with pytest.raises(ProofError, match="not of a request of this caller"):
            receipt_for_caller(good, index, caller)
    with pytest.raises(ProofError, match="not under a checkpoint"):
        receipt_for_caller(good, 99, "alice")
    with pytest.raises(ProofError, match="there is no record"):
        record_line(good, 99)


def test_match_and_open(tmp_path: Path, altered: Path) -> None:
    directory, text = tmp_path / "ledger", tmp_path / "text"
    index = talk(directory)
    ledger = Ledger.open(settings(directory))
    exchange(ledger)  # without digests
    ledger.close()
    text.write_bytes(PROMPT)
    found = run("match", text, directory)
    assert found.exit_code == 0
    assert f"record {index}" in found.output
    text.write_bytes(b"something else")
    assert run("match", text, directory).exit_code == 1
    assert run("match", text, altered).exit_code == 1
    assert run("match", tmp_path / "nothing", directory).exit_code == 3
    shown = run("open", index, directory)
    assert (PROMPT.decode() in shown.output, shown.exit_code) == (True, 0)
    assert run("open", "req-1", directory, "--out", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / f"{index + 1}-answer").read_bytes() == ANSWER
    assert run("open", index + 1, directory).output == ANSWER.decode() + "\n"
    assert run("open", "req-9", directory).exit_code == 1
    assert run("open", 3, altered).exit_code == 1
    for name in ("match", "open"):
        key = (directory / layout.REVIEWER_SECRET).read_text()
        (directory / layout.REVIEWER_SECRET).unlink()
        assert "the reviewer's secret key is needed" in run(name, text if name == "match" else 3, directory).output
        (directory / layout.REVIEWER_SECRET).write_text(key)


def test_after_an_erasure_nobody_is_told_that_a_text_did_not_pass(tmp_path: Path) -> None:
    """What was erased can't be asked: neither yes nor no. What was not is still found."""
    directory, text = tmp_path / "ledger", tmp_path / "text"
    text.write_bytes(PROMPT)
    talk(directory)
    run("erase", today(directory), directory)
    asked = run("match", text, directory)
    assert asked.exit_code == 2
    assert "0 of 3 records with digests match; 3 cannot be asked any more: the digest keys of" in asked.output
    talk(directory)
    asked = run("match", text, directory)
    assert asked.exit_code == 0
    assert "prompt of alice to gpu-1" in asked.output
    assert "3 cannot be asked any more" in asked.output
    text.write_bytes(b"another text")
    assert run("match", text, directory).exit_code == 2


@pytest.mark.parametrize("form", ["ocsf", "cef", "csv"])
def test_exports(good: Path, form: str) -> None:
    done = run("export", good, "--format", form)
    lines = done.output.splitlines()
    assert done.exit_code == 0
    if form == "ocsf":
        events = [json.loads(line) for line in lines]
        assert len(events) == 17  # eight exchanges, one denial
        assert {event["class_uid"] for event in events} == {6003}
        assert all(event["type_uid"] == event["class_uid"] * 100 + event["activity_id"] for event in events)
        assert [event["status_id"] for event in events].count(2) == 1
    elif form == "cef":
        assert len(lines) == 25
        assert all(line.startswith("CEF:0|Ringfence|ringfence|1|") for line in lines)
        assert "reason=model_unknown" in done.output
    else:
        assert len(lines) == 26
        assert {line.count(",") for line in lines} == {lines[0].count(",")}


def test_of_a_tampered_log_nothing_is_exported(altered: Path) -> None:
    done = run("export", altered, "--format", "csv")
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 1
    assert run("export", altered, "--format", "xml").exit_code == 3


def test_a_spreadsheet_runs_no_formula(tmp_path: Path) -> None:
    talk(tmp_path, caller="=cmd()")
    assert "'=cmd()" in run("export", tmp_path, "--format", "csv").output
    assert "suser=\\=cmd()" in run("export", tmp_path, "--format", "cef").output


def test_the_report_answers_and_escapes(good: Path, altered: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert run("report", good, "--out", page).exit_code == 0
    text = page.read_text()
    for wanted in ("intact", "gpu-1", "model_unknown", "No enforcement was recorded", "lay on the router", "network"):
        assert wanted in text
    assert "<script" not in text
    noted = text.split("<code>")[2].split("<")[0]
    assert "1 of 1 numbers from outside agree" in run("verify", good, "--note", noted).output
    assert "http" not in text
    assert run("report", altered, "--out", page).exit_code == 1
    assert "TAMPERED" in page.read_text()
    Ledger.open(settings(tmp_path / "empty")).close()
    run("report", tmp_path / "empty", "--out", page)
    assert "Nothing was sent anywhere" in page.read_text()


def test_the_report_lists_seals_policies_and_gaps(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path / "ledger"))
    seal: dict[str, Any] = {"process": "worker", "level": "seccomp", "passed": ["E1", "E2"], "failed": []}
    ledger.append(Kind.ENFORCEMENT, seal)
    ledger.append(Kind.ENFORCEMENT, {**seal, "passed": ["E1"], "failed": ["E2"]})
    ledger.append(Kind.RELOAD, {"result": "accepted", "digest": "ab" * 32})
    ledger.append(Kind.PROBE, {"upstream": "gpu-1", "state": "ready", "software": "vllm 1", "ms": 1.5, "cold": False})
    ledger.append(Kind.ADMIN, {"action": "narrow", "actor": "operator"})
    exchange(ledger, address="10.1.2.3:8000")
    ledger.close()
    page = tmp_path / "page.html"
    run("report", tmp_path / "ledger", "--out", page)
    text = page.read_text()
    for wanted in (
        "2 stopped, none got through",
        "1 stopped, 1 NOT stopped: E2",
        "<td>accepted</td><td>" + "ab" * 32,
        "<td>vllm 1</td>",
        "action: narrow",
        "<td>gpu-1</td><td>10.1.2.3:8000 120</td><td>1</td><td>120</td><td>900</td>",
        "<td>alice</td><td>1</td><td>120</td><td>900</td><td>0</td>",
        "Nothing was refused",
    ):
        assert wanted in text
    assert "digest_key" not in text


def test_a_report_of_a_pruned_log_counts_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.audit.summary.MOST_DENIALS", 1)
    directory = build(tmp_path / "ledger", exchanges=30, runs=2, segment_bytes=4000)
    assert run("prune", 40, directory).exit_code == 0
    page = tmp_path / "page.html"
    assert run("report", directory, "--out", page).exit_code == 0
    assert "2 in all: model_unknown 2" in page.read_text()
    assert page.read_text().count("gpt-4o") == 1
    exchanges = kinds(directory).count("decision")
    assert f"<td>gpu-1</td><td>not recorded</td><td>{exchanges}</td>" in page.read_text()
    assert "The first 1 are listed" in page.read_text()


def test_an_outcome_whose_decision_was_pruned_counts_for_nobody() -> None:
    body = {"decision": 1, "ending": "completed", "sent_bytes": 5}
    summary = Summary()
    summary.see(Record(7, 1, b"", b"", b"", 0, 0, "outcome", body, "segment", 0))
    assert summary.upstreams == {}
