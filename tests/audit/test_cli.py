"""`ringfence audit`: exit codes, sentences, and files, through the command line's own parser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from router.audit import Kind, Ledger
from router.audit.format import content, layout
from router.audit.format.proofs import ProofError, parse_receipt
from router.audit.format.segments import list_segments
from router.audit.prove import receipt_for_caller, record_line
from router.audit.show import Tail
from router.audit.summary import Summary
from router.audit.verify.batch import Record
from router.cli.audit import audit_app
from tests.audit.ledgers import build, copy, exchange, kinds, settings, vkey
from tests.audit.test_content import ANSWER, PROMPT, talk, today


def run(*words: object) -> Result:
    return CliRunner().invoke(audit_app, [str(word) for word in words])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("good") / "ledger", exchanges=8)


@pytest.fixture
def bad(good: Path, tmp_path: Path) -> Path:
    directory = copy(good, tmp_path / "bad")
    segment = list_segments(directory)[0][1]
    segment.write_bytes(segment.read_bytes().replace(b"gpu-1", b"gpu-2", 1))
    return directory


def test_verify_and_its_exit_codes(good: Path, bad: Path, tmp_path: Path) -> None:
    assert run("verify", good).exit_code == 0
    assert run("verify", good, "--strict").exit_code == 2
    broken = run("verify", bad)
    assert broken.exit_code == 1
    assert "record 3: its MAC is wrong" in broken.output
    assert run("verify", tmp_path / "nothing").exit_code == 3
    report = json.loads(run("verify", good, "--json").output)
    assert (report["verdict"], report["exit_code"], report["records"]) == ("intact", 0, 25)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--kind", "decision"], 8),
        (["--caller", "alice"], 16),
        (["--caller", "bob"], 1),
        (["--caller", "nobody"], 0),
        (["--model", "m", "--kind", "outcome"], 8),
        (["--tier", "gpu", "--upstream", "gpu-1", "--kind", "decision"], 8),
        (["--reason", "model_unknown"], 1),
        (["--reason", "completed"], 8),
        (["--request-id", "req-2"], 1),
        (["--since", "2020-01-01", "--kind", "denial"], 1),
        (["--since", "2999-01-01T00:00:00+01:00"], 0),
        (["--until", "2020-01-01"], 0),
    ],
)
def test_show_filters(good: Path, filters: list[str], count: int) -> None:
    shown = run("show", good, *filters)
    assert shown.exit_code == 0
    assert len(shown.output.splitlines()) == count


def test_show_speaks_json_and_refuses_what_is_not_whole(good: Path, bad: Path) -> None:
    shown = run("show", good, "--kind", "denial", "--json")
    assert json.loads(shown.output)["body"]["caller"] == "bob"
    broken = run("show", bad)
    assert broken.exit_code == 1
    assert broken.output.startswith(f"{bad}: TAMPERED")
    assert "chat/completions" not in broken.output
    assert run("show", good, "--since", "yesterday").exit_code == 3


def test_tail_and_follow(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [line.split()[3] for line in run("tail", good, "-n", 2).output.splitlines()] == ["stop", "checkpoint"]
    assert run("tail", tmp_path / "nothing").exit_code == 3
    (tmp_path / layout.SEGMENTS).mkdir()
    assert run("tail", tmp_path).output == ""

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    assert run("tail", good, "-f").exit_code == 0


def test_a_tail_goes_on_into_the_next_segment(tmp_path: Path) -> None:
    (tmp_path / layout.SEGMENTS).mkdir()
    tail = Tail(tmp_path, 3)
    assert tail.again() == []
    ledger = Ledger.open(settings(tmp_path, segment_bytes=3000))
    seen = len(tail.again())
    for _ in range(12):
        exchange(ledger)
        seen += len(tail.again())
    ledger.close()
    for _ in range(20):
        seen += len(tail.again())
    assert seen >= len(kinds(tmp_path)) - 5  # it began with the newest three of those written before
    last = list_segments(tmp_path)[-1][1]
    with last.open("ab") as file:
        file.write(b"nonsense\nunfinished")
    assert tail.again() == ["(not a record)"]


def test_keygen_prints_what_to_do_and_overwrites_nothing(tmp_path: Path) -> None:
    made = run("keygen", "--out", tmp_path / "keys")
    assert made.exit_code == 0
    assert "keep it offline" in made.output
    assert run("keygen", "--out", tmp_path / "keys").exit_code == 3
    (tmp_path / "ledger").mkdir()
    (tmp_path / "keys" / "reviewer.pub").rename(tmp_path / "ledger" / "reviewer.pub")
    build(tmp_path / "ledger")
    checked = run("verify", tmp_path / "ledger", "--key", tmp_path / "keys" / "reviewer.key")
    assert checked.exit_code == 0
    assert "lies beside" not in checked.output


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


def test_anchors(good: Path) -> None:
    note = run("anchor", good).output.strip()
    assert run("verify", good, "--note", note).exit_code == 0
    size, root = note.split(":")
    wrong = run("verify", good, "--note", f"{int(size) - 1}:{root}")
    assert wrong.exit_code == 1
    assert "the log was rewritten" in wrong.output
    longer = run("verify", good, "--note", f"{int(size) + 5}:{root}")
    assert longer.exit_code == 1
    assert "it was cut or rolled back" in longer.output
    assert run("anchor", good, "--syslog").output == f"ringfence-anchor {vkey(good).name} {note}\n"
    asked = run("anchor", good, "--witness", 7).output.split("\n")
    assert asked[0] == "old 7"
    assert "" in asked[1:8]
    assert (good / layout.CHECKPOINT).read_text() in run("anchor", good, "--witness", 0).output
    assert run("anchor", good, "--witness", 999).exit_code == 3


def test_match_and_open(tmp_path: Path, bad: Path) -> None:
    directory, text = tmp_path / "ledger", tmp_path / "text"
    index = talk(directory)
    text.write_bytes(PROMPT)
    found = run("match", text, directory)
    assert found.exit_code == 0
    assert f"record {index}" in found.output
    text.write_bytes(b"something else")
    assert run("match", text, directory).exit_code == 1
    assert run("match", text, bad).exit_code == 1
    assert run("match", tmp_path / "nothing", directory).exit_code == 3
    shown = run("open", index, directory)
    assert (PROMPT.decode() in shown.output, shown.exit_code) == (True, 0)
    assert run("open", "req-1", directory, "--out", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / f"{index + 1}-answer").read_bytes() == ANSWER
    assert run("open", index + 1, directory).output == ANSWER.decode() + "\n"
    assert run("open", "req-9", directory).exit_code == 1
    assert run("open", 3, bad).exit_code == 1
    for name in ("match", "open"):
        key = (directory / layout.REVIEWER_SECRET).read_text()
        (directory / layout.REVIEWER_SECRET).unlink()
        assert "the reviewer's secret key is needed" in run(name, text if name == "match" else 3, directory).output
        (directory / layout.REVIEWER_SECRET).write_text(key)


def test_erase_and_prune(tmp_path: Path) -> None:
    directory = tmp_path / "ledger"
    talk(directory)
    assert run("erase", today(directory), directory).output.startswith("3 files")
    assert "was erased" in run("open", "req-1", directory).output
    assert run("erase", "someday", directory).exit_code == 3
    assert run("prune", 10, directory).output == "0 segments removed\n"
    ledger = Ledger.open(settings(directory))
    assert "one ledger has one writer" in run("prune", 10, directory).output
    ledger.close()
    assert run("verify", directory).exit_code == 0
    assert not list((directory / content.DIGESTS).iterdir())


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


@pytest.mark.parametrize("words", [["verify"], ["show"], ["tail"], ["anchor"], ["prove", 1], ["erase", "2026-01-01"]])
def test_where_no_ledger_lies_it_is_said(tmp_path: Path, words: list[object]) -> None:
    for directory, what in ((tmp_path / "nosuch", "does not exist"), (tmp_path, "has no segments/")):
        done = run(*words, directory)
        assert done.exit_code == 3
        assert f"there is no ledger at {directory} (it {what})" in done.output
    assert not list(tmp_path.iterdir())


def test_a_note_or_key_that_is_none_is_named(good: Path) -> None:
    assert "--note bla: neither SIZE:ROOT" in run("verify", good, "--note", "bla").output
    assert "--vkey bla: neither a file nor a key" in run("verify", good, "--vkey", "bla").output


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


def test_of_a_tampered_log_nothing_is_exported(bad: Path) -> None:
    done = run("export", bad, "--format", "csv")
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 1
    assert run("export", bad, "--format", "xml").exit_code == 3


def test_a_spreadsheet_runs_no_formula(tmp_path: Path) -> None:
    talk(tmp_path, caller="=cmd()")
    assert "'=cmd()" in run("export", tmp_path, "--format", "csv").output
    assert "suser=\\=cmd()" in run("export", tmp_path, "--format", "cef").output


def test_the_report_answers_and_escapes(good: Path, bad: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert run("report", good, "--out", page).exit_code == 0
    text = page.read_text()
    for wanted in ("intact", "gpu-1", "model_unknown", "No enforcement was recorded", "lies on the router", "network"):
        assert wanted in text
    assert "<script" not in text
    assert "http" not in text
    assert run("report", bad, "--out", page).exit_code == 1
    assert "TAMPERED" in page.read_text()
    Ledger.open(settings(tmp_path / "empty")).close()
    run("report", tmp_path / "empty", "--out", page)
    assert "Nothing was sent anywhere" in page.read_text()


def test_the_report_lists_seals_policies_and_gaps(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path / "ledger"))
    seal: dict[str, Any] = {"process": "worker", "level": "seccomp", "passed": ["E1", "E2"], "failed": []}
    ledger.append(Kind.ENFORCEMENT, seal)
    ledger.append(Kind.RELOAD, {"result": "accepted", "digest": "ab" * 32})
    ledger.append(Kind.PROBE, {"upstream": "gpu-1", "state": "ready", "ms": 1.5, "cold": False})
    ledger.close()
    page = tmp_path / "page.html"
    run("report", tmp_path / "ledger", "--out", page)
    text = page.read_text()
    assert "level: seccomp" in text
    assert "result: accepted" in text
    assert "Nothing was refused" in text


def test_a_report_of_a_pruned_log_counts_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.audit.summary.MOST_DENIALS", 1)
    directory = build(tmp_path / "ledger", exchanges=30, runs=2, segment_bytes=4000)
    assert run("prune", 40, directory).exit_code == 0
    page = tmp_path / "page.html"
    assert run("report", directory, "--out", page).exit_code == 0
    assert "2 in all: model_unknown 2" in page.read_text()
    assert page.read_text().count("gpt-4o") == 1
    exchanges = kinds(directory).count("decision")
    assert f"<td>gpu-1</td><td>{exchanges}</td>" in page.read_text()


def test_the_verifier_is_written_as_one_file(tmp_path: Path) -> None:
    assert run("standalone", "--out", tmp_path / "v.pyz").exit_code == 0
    assert (tmp_path / "v.pyz").stat().st_mode & 0o111


def test_an_outcome_whose_decision_was_pruned_counts_for_nobody() -> None:
    body = {"decision": 1, "ending": "completed", "sent_bytes": 5}
    summary = Summary()
    summary.see(Record(7, 1, b"", b"", b"", 0, 0, "outcome", body, "segment", 0))
    assert summary.upstreams == {}
