"""File systems that take no more: read-only from the start, or from one moment on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conversations import CHAT, all_ready, chat, policy, wait_until_ready
from tests.fakes.running import fake_upstream
from tests.service import RINGFENCE, environment, events, running, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems: needs root")
POLICY = """
version: 1
upstreams: {a: {url: "http://127.0.0.1:9/v1"}}
tiers: [{name: t, upstreams: [a]}]
models: {m: {tiers: [t]}}
"""
MOUNTS = 'mount -t tmpfs {options} none {name} && exec "$@"'


def mounting(name: str, options: str = "") -> tuple[str, ...]:
    """A command that mounts a new file system there, for what it becomes alone."""
    return ("unshare", "--mount", "sh", "-c", MOUNTS.format(name=name, options=options), "sh")


def mount_or_skip(tmp_path: Path) -> None:
    (tmp_path / "tried").mkdir()
    tried = subprocess.run([*mounting("tried"), "true"], cwd=tmp_path, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"nothing can be mounted here: {tried.stderr}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ledger-run", "ringfence: cannot make {here}/ledger-run/"),
        ("ledger", "ringfence: the ledger directory {here}/ledger cannot be used: Read-only file system"),
    ],
)
def test_a_directory_that_is_read_only_at_the_start_is_said(name: str, said: str, tmp_path: Path) -> None:
    mount_or_skip(tmp_path)
    (tmp_path / name).mkdir()
    (tmp_path / "policy.yaml").write_text(POLICY)
    serve = (str(RINGFENCE), "serve", "--config", "policy.yaml", "--port", "0")
    ended = subprocess.run(
        [*mounting(name, "-o ro"), *serve], cwd=tmp_path, env=environment(), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(said.format(here=tmp_path))
    assert "Read-only file system" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_a_service_whose_own_directory_turns_read_only_goes_on(tmp_path: Path) -> None:
    """Sockets that lie there go on working; what would be written there is only for the next start."""
    mount_or_skip(tmp_path)
    (tmp_path / "ledger-run").mkdir()
    with fake_upstream() as fake, running(tmp_path, policy(fake), under=mounting("ledger-run")) as service:
        wait_until_ready(service)
        inside = ["nsenter", "--mount", "--target", str(service.process.pid), "--wd=."]
        subprocess.run([*inside, "mount", "-o", "remount,ro", "ledger-run"], cwd=tmp_path, check=True)
        service.kill("gate")
        until(lambda: service.rows()["gate"]["restarts"] == 1 and all_ready(service), 20, "another gate is ready")
        assert service.post(CHAT, chat()).status_code == 200
        reload = [*inside, str(RINGFENCE), "reload", "--config", "policy.yaml"]
        ordered = subprocess.run(
            reload, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
        )
        assert (ordered.returncode, "Settings taken" in ordered.stdout) == (0, True), ordered.stderr
        service.settled()
        assert service.stop() == 0
    assert events(service.log(), "ledger_not_remembered")
    assert "Traceback" not in service.log()
    assert service.verify().returncode == 0
