"""What a caller and a reviewer can prove afterwards: receipts for requests, and "did this text pass?"."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conversations import CHAT, chat, policy, wait_until_ready
from tests.fakes.running import fake_upstream
from tests.service import Service, ringfence, running, until


def keyed(directory: Path, one: str) -> tuple[str, dict[str, str]]:
    """A keys file with two callers, and their headers."""
    keys = {
        name: ringfence(directory, "keys", "create", name, "--file", "keys.yaml").stdout.strip() for name in ("a", "b")
    }
    return one + "\ncallers: {file: keys.yaml}\n", {name: f"Bearer {key}" for name, key in keys.items()}


def receipt(service: Service, index: str, authorization: str) -> tuple[int, str]:
    answer = service.get(f"/v1/receipts/{index}", headers={"Authorization": authorization})
    return answer.status_code, answer.text


def test_a_caller_holds_a_receipt_and_a_reviewer_finds_the_text(tmp_path: Path) -> None:
    with fake_upstream() as one:
        text, callers = keyed(tmp_path, policy(one))
        with running(tmp_path, text) as service:
            wait_until_ready(service)
            secret = "the merger is on friday"
            answer = service.post(CHAT, chat(secret), headers={"Authorization": callers["a"]})
            index = answer.headers["x-ringfence-record"]
            until(lambda: receipt(service, index, callers["a"])[0] == 200, 5, "under a checkpoint")
            (tmp_path / "receipt").write_text(receipt(service, index, callers["a"])[1])
            assert receipt(service, index, callers["b"])[0] == 404
            assert receipt(service, "999999", callers["a"])[0] == 404
            assert receipt(service, str(1 << 80), callers["a"])[0] == 404
            assert receipt(service, index, "Bearer nobody")[0] == 401
        checked = ringfence(tmp_path, "audit", "receipt", "receipt", "--vkey", "ledger/log.vkey")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        (tmp_path / "found").write_text(secret)
        (tmp_path / "never").write_text("the merger is on monday")
        found = ringfence(tmp_path, "audit", "match", "found", "ledger")
        assert index in found.stdout, found.stdout + found.stderr
        never = ringfence(tmp_path, "audit", "match", "never", "ledger")
        assert index not in never.stdout.split()
