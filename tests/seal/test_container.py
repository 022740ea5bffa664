"""In a container's default profile: no CAP_SYS_ADMIN, no user namespace, a filter below ours. It is told exactly."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from router.seal.landlock import version
from tests.e2e.conversations import CHAT, GOOD_TEXT, chat, policy, wait_until_ready
from tests.fakes.running import fake_upstream
from tests.seal.experiments import CHECKOUT, python, users
from tests.service import RINGFENCE, environment, running, until

CONTAINER = str(CHECKOUT / "tests" / "seal" / "container.py")
NO_NETWORK = "no netns: CAP_SYS_ADMIN is missing, and user namespaces are refused: Operation not permitted"
SEAL = "seccomp+landlock" if version() else "seccomp"


def contained(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, CONTAINER, RINGFENCE, *arguments],
        cwd=cwd, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_doctor_says_what_holds_and_what_does_not(tmp_path: Path) -> None:
    lines = contained("doctor", cwd=tmp_path).stdout.splitlines()
    said = [line for line in lines if re.match(r"gate|worker|engine|  no ", line)]
    withstood = [re.fullmatch(r"(\w+): (\S+); (\d+) of (\d+) attacks refused", line) for line in said]
    found = [(one[1], one[2], one[3] == one[4]) for one in withstood if one]
    assert found == [(name, SEAL, True) for name in ("gate", "worker", "engine")]
    assert said.count(f"  {NO_NETWORK}") == 2, "the gate is the way out, and lives in the machine's network"


@pytest.mark.parametrize("user", users(), ids=lambda user: "ordinary-user" if user else "as-is")
@pytest.mark.parametrize("profile", ["gate", "worker", "engine"])
def test_each_process_is_sealed_in_it(profile: str, user: int | None) -> None:
    command = [python(user), CONTAINER, python(user), "-m", "router.seal", "--profile", profile]
    identity = {"user": user, "group": user, "extra_groups": []} if user is not None else {}
    ended = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False,
        env=environment(PYTHONPATH=str(CHECKOUT)), **identity,  # type: ignore[call-overload]  # of subprocess.run
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["seal"], found["capabilities"]) == (SEAL, 0)
    assert found["notes"][:1] == ([] if profile == "gate" else [NO_NETWORK])
    assert {attempt["result"] for attempt in found["attempts"]} == {"blocked"}


def test_the_whole_service_runs_in_it(tmp_path: Path) -> None:
    required = f"require_seal: [{SEAL.replace('+', ', ')}]\n"
    with fake_upstream() as fake:
        with running(tmp_path, policy(fake, more=required), under=(sys.executable, CONTAINER)) as service:
            wait_until_ready(service)
            assert service.post(CHAT, chat()).json()["choices"][0]["message"]["content"] == GOOD_TEXT
            until(lambda: all(row["seal"] for row in service.rows().values()), 10, "every process has told its seal")
            assert {row["seal"] for row in service.rows().values()} == {SEAL}
            until(lambda: len(service.records("enforcement")) == 2, 10, "both seals are recorded")
            assert NO_NETWORK in service.log()
            assert service.stop() == 0
            assert service.verify().returncode == 0


def test_what_it_cannot_have_is_asked_for_in_vain(tmp_path: Path) -> None:
    with fake_upstream() as fake:
        (tmp_path / "policy.yaml").write_text(policy(fake, more="require_seal: netns\n"))
        ended = contained("serve", "--config", "policy.yaml", "--port", "0", cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        f"ringfence: the worker's seal lacks netns, which require_seal asks for ({NO_NETWORK}). "
        "Run 'ringfence doctor' here, or ask for less."
    )


def test_prove_says_that_it_cannot_be_tried_in_it(tmp_path: Path) -> None:
    ended = contained("prove", cwd=tmp_path)
    assert ended.returncode == 2
    assert re.search(r"no network namespace can be made here \(.*Operation not permitted\)|this needs ", ended.stderr)
    assert not (tmp_path / "proof").exists()
