"""The README's examples are run as they stand there: what it shows is what happens."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conversations import CHAT, chat, policy, wait_until_ready
from tests.fakes.running import fake_upstream
from tests.service import Service, ringfence, running

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
POLICY = next(text for language, text in BLOCKS if language == "yaml")
ENVIRONMENT = next(text for _, text in BLOCKS if text.startswith("CUSTOM_LLM_BASE_URL"))
REFUSED = next(text for _, text in BLOCKS if "ringfence check cloud.yaml" in text)
PROGRAM = next(text for language, text in BLOCKS if language == "python")
CURL = next(text for _, text in BLOCKS if text.startswith("$ curl"))
TAMPERED = next(text for _, text in BLOCKS if "audit verify" in text)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that has answered and is stopped: its ledger is whole."""
    directory = tmp_path_factory.mktemp("ended")
    with fake_upstream() as fake, running(directory, policy(fake)) as service:
        wait_until_ready(service)
        assert service.post(CHAT, chat()).status_code == 200
        service.settled(1)
        assert service.stop() == 0
        yield service


def test_its_policy_is_good(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    done = ringfence(tmp_path, "check", "policy.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_environment_is_good(tmp_path: Path) -> None:
    lines = [line.partition("#")[0].strip() for line in ENVIRONMENT.splitlines()]
    given = dict(line.split("=", 1) for line in lines if line)
    done = ringfence(tmp_path, "check", **given)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_cloud_is_refused_in_the_words_shown(tmp_path: Path) -> None:
    _command, *shown = REFUSED.strip().splitlines()
    added = '  help: {url: "https://api.openai.com:443/v1"}\n'
    lines = POLICY.splitlines(keepends=True)
    (tmp_path / "cloud.yaml").write_text("".join([*lines[:3], added, *lines[3:]]))
    done = ringfence(tmp_path, "check", "cloud.yaml")
    assert done.returncode == 1
    assert done.stderr.splitlines() == shown


def test_its_program_and_its_curl_are_answered(tmp_path: Path) -> None:
    """As they stand, but for the port; the model's name is the one that the program asks for."""
    [model] = re.findall(r'model="([^"]+)"', PROGRAM)
    with fake_upstream() as fake:
        named = {"CUSTOM_LLM_BASE_URL": fake.url, "CUSTOM_LLM_MODEL": model}
        with running(tmp_path, "version: 1\n", **named) as service:
            wait_until_ready(service)
            at = f"127.0.0.1:{service.port}"
            program = [sys.executable, "-c", PROGRAM.replace("127.0.0.1:7860", at)]
            done = subprocess.run(program, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith("word0 word1")
            curl = CURL.partition("\n{")[0].removeprefix("$ ").replace("127.0.0.1:7860", at)
            done = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=False)
            assert json.loads(done.stdout)["choices"][0]["message"]["content"].startswith("word0 word1")
            warm = re.search(r"`(curl -fsS http://127\.0\.0\.1:7860/warm)`", README)
            assert warm is not None
            done = subprocess.run(
                ["bash", "-c", warm[1].replace("127.0.0.1:7860", at)], capture_output=True, text=True, check=False
            )
            assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "warm")


def test_a_changed_byte_is_found_in_the_words_shown(ended: Service, tmp_path: Path) -> None:
    shutil.copytree(ended.ledger, tmp_path / "ledger")
    assert ringfence(tmp_path, "audit", "verify", "ledger").returncode == 0
    copy, sed, verify, *shown = TAMPERED.strip().splitlines()
    for command in (copy, sed):
        subprocess.run(["bash", "-c", command.removeprefix("$ ")], cwd=tmp_path, check=True)
    done = ringfence(tmp_path, *verify.removeprefix("$ ringfence ").split())
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert shown[0] in said
    assert re.search(r"record [0-9]+: its MAC is wrong", said)
    assert "its MAC is wrong" in shown[-1]
