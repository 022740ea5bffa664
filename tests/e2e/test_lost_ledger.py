"""A ledger that is not where it was: no gate begins another in its place, and what goes on in a new one says so."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.e2e.conversations import CHAT, chat, policy, wait_until_ready
from tests.fakes.running import fake_upstream
from tests.service import events, ringfence, running, until


def test_no_gate_and_no_service_begins_a_ledger_where_one_is_missing(tmp_path: Path) -> None:
    ledger, elsewhere = tmp_path / "ledger", tmp_path / "elsewhere"
    serve = ("serve", "--config", "policy.yaml", "--port", "0")
    with fake_upstream() as fake, running(tmp_path, policy(fake)) as service:
        wait_until_ready(service)
        assert service.post(CHAT, chat()).status_code == 200
        ledger.rename(elsewhere)
        too_soon = ringfence(tmp_path, "audit", "recover", "ledger", "--accept-loss")
        assert (too_soon.returncode, "still runs: stop it first" in too_soon.stderr) == (3, True), too_soon.stdout
        service.kill("gate")
        assert service.process.wait(20) == 1
        [refused] = events(service.log(), "ledger_refused")
        assert "there is none" in refused["reason"]
        assert not ledger.exists(), "it can be put back"
    again = ringfence(tmp_path, *serve)
    assert (again.returncode, "if its volume is not mounted" in again.stderr) == (1, False), again.stderr
    assert "or its volume is not mounted, put it back" in again.stderr
    assert not ledger.exists()
    elsewhere.rename(ledger)
    (tmp_path / "service.log").unlink()
    with running(tmp_path, policy(fake)) as service:
        assert service.stop() == 0

    ledger.rename(elsewhere)
    accepted = ringfence(tmp_path, "audit", "recover", "ledger", "--accept-loss", "--reason", "archived")
    assert accepted.returncode == 0, accepted.stderr
    (tmp_path / "service.log").unlink()
    with running(tmp_path, policy(fake)) as service:
        [gap] = service.records("recovery_gap")
        assert gap["body"]["log"] == (elsewhere / "log.vkey").read_text().partition("+")[0].rpartition("/")[2]
        assert gap["body"]["signed"] == int((elsewhere / "checkpoint").read_text().splitlines()[1])
        assert service.stop() == 0
    verified = ringfence(tmp_path, "audit", "verify", "ledger")
    assert (verified.returncode, "was not there any more (archived)" in verified.stdout) == (2, True)


def test_a_service_that_lost_its_own_directory_too_still_knows_its_ledger(tmp_path: Path) -> None:
    with fake_upstream() as fake, running(tmp_path, policy(fake)) as service:
        (tmp_path / "ledger").rename(tmp_path / "elsewhere")
        (tmp_path / "ledger-run").rename(tmp_path / "elsewhere-run")
        service.kill("gate")
        assert service.process.wait(20) == 1
    again = ringfence(tmp_path, "serve", "--config", "policy.yaml", "--port", "0")
    assert (again.returncode, "there is none" in again.stderr) == (1, True), again.stderr


def test_what_a_gate_refused_teaches_nothing(tmp_path: Path) -> None:
    with fake_upstream() as fake, running(tmp_path, policy(fake)) as service:
        assert service.stop() == 0
    checkpoint, kept = tmp_path / "ledger" / "checkpoint", tmp_path / "ledger-run" / "ledger-checkpoint"
    whole, known = checkpoint.read_text(), kept.read_text()
    origin, rest = whole.split("\n", 1)
    checkpoint.write_text(f"{origin}\n9{rest}")
    refused = ringfence(tmp_path, "serve", "--config", "policy.yaml", "--port", "0")
    assert (refused.returncode, "not signed by this ledger" in refused.stderr) == (1, True), refused.stderr
    assert kept.read_text() == known
    checkpoint.write_text(whole)
    (tmp_path / "service.log").unlink()
    with running(tmp_path, policy(fake)) as service:
        assert service.stop() == 0


def test_an_older_copy_put_back_while_the_service_runs_is_noticed_told_and_recorded(tmp_path: Path) -> None:
    ledger, older = tmp_path / "ledger", tmp_path / "older"
    with fake_upstream() as fake, running(tmp_path, policy(fake)) as service:
        wait_until_ready(service)
        assert service.post(CHAT, chat()).status_code == 200
        shutil.copytree(ledger, older)
        assert service.post(CHAT, chat()).status_code == 200
        known = (older / "checkpoint").read_text()
        until(lambda: (ledger / "checkpoint").read_text() != known, 20, "a newer checkpoint")
        ledger.rename(tmp_path / "elsewhere")
        older.rename(ledger)
        until(lambda: service.post(CHAT, chat()).status_code == 503, 20, "no more exchange")
        until(lambda: service.health()["status"] == "audit_unavailable", 20, "that /health says so")
        [refused] = events(service.log(), "ledger_refuses")
        assert "put another copy in its place" in refused["reason"]
        service.kill("gate")
        assert service.process.wait(20) == 1
        [refused] = events(service.log(), "ledger_refused")
        assert "an older state of it lies there" in refused["reason"], "though no older than the service's start"
    accepted = ringfence(tmp_path, "audit", "recover", "ledger", "--accept-loss", "--reason", "rolled_back")
    assert accepted.returncode == 0, accepted.stderr
    (tmp_path / "service.log").unlink()
    with running(tmp_path, policy(fake)) as service:
        [gap] = service.records("recovery_gap")
        assert gap["body"]["reason"] == "rolled_back"
        assert gap["body"]["signed"] > gap["body"]["lost_from"]
        assert service.stop() == 0
