"""Tokens planted wherever a client or an upstream can put one are found in no file that the service writes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conversations import CHAT, chat, policy, wait_until_ready
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, ringfence, running

CANARY = "CaNaRy7f3a"
FAULTS = [
    "", "status_400", "status_401", "status_500", "busy", "html", "garbage", "wrong_type", "reset_mid_event",
    "close_before_done", "stall", "garbage_body", "gzip", "two_lengths", "redirect_302", "refuse",
]  # fmt: skip


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Fake, str]]:
    directory = tmp_path_factory.mktemp("mine")
    key = ringfence(directory, "keys", "create", "alice").stdout.strip()
    (directory / "operator").write_text(ringfence(directory, "keys", "create", "op", "--operator").stdout.strip())
    (directory / "token").write_text(f"{CANARY}upstreamkey")
    (directory / "token").chmod(0o600)
    with fake_upstream() as fake:
        text = policy(fake, more="callers: {file: keys.yaml}\n").replace('/v1"}', '/v1", key_file: token}')
        with running(directory, text) as service:
            wait_until_ready(service)
            yield service, fake, key


def written(service: Service) -> Iterator[tuple[Path, bytes]]:
    """Every file under the service's directory but what we put there ourselves."""
    for path in service.directory.rglob("*"):
        if path.is_file() and path.name not in {"token", "policy.yaml"}:
            yield path, path.read_bytes()


def requests(key: str, stream: bool) -> list[tuple[str, dict[str, object]]]:
    """(path, how to ask): a canary in each place that a client fills."""
    signed = {"Authorization": f"Bearer {key}"}
    good = chat(f"{CANARY}prompt", stream=stream)
    return [
        (CHAT, {"json": good, "headers": signed}),
        (CHAT, {"json": {**good, "model": f"{CANARY}model"}, "headers": signed}),
        (CHAT, {"json": {**good, f"{CANARY}name": 1, "user": f"{CANARY}user"}, "headers": signed}),
        (CHAT, {"content": f'{{"{CANARY}":1,"{CANARY}":2}}'.encode(), "headers": signed}),
        (CHAT, {"content": f'{{"messages": {CANARY}'.encode(), "headers": signed}),
        (CHAT, {"json": good, "headers": {**signed, "X-Ringfence-Reach": f"{CANARY}reach"}}),
        (CHAT, {"json": good, "headers": {**signed, "X-Request-ID": f"{CANARY} not well formed"}}),
        (CHAT, {"json": good, "headers": {**signed, "X-Canary": CANARY, "User-Agent": CANARY, "Cookie": CANARY}}),
        (CHAT, {"json": good, "headers": {"Authorization": f"Bearer rf_{CANARY}_{CANARY}"}}),
        (f"/v1/{CANARY}", {"json": good, "headers": signed}),
        (f"{CHAT}?canary={CANARY}", {"json": good, "headers": signed}),
    ]


@pytest.mark.parametrize("fault", FAULTS)
def test_no_sink_holds_content(mine: tuple[Service, Fake, str], fault: str) -> None:
    service, fake, key = mine
    fake.reset()
    wait_until_ready(service)
    fake.become(fault=fault, text=f"{CANARY}answer")
    asked = requests(key, stream=False) + requests(key, stream=True)
    for path, how in asked if fault == "" else [asked[0], asked[11]]:
        answer = service.client.post(service.url + path, **how)  # type: ignore[arg-type]  # keywords of httpx
        assert f"{CANARY}upstreamkey" not in answer.text
    service.settled()
    operator = {"Authorization": f"Bearer {(service.directory / 'operator').read_text()}"}
    for path in ("/metrics", "/admin/upstreams", "/health"):
        shown = service.get(path, headers=operator)
        assert shown.status_code in (200, 503)
        assert CANARY not in shown.text
    assert_clean(service)


def assert_clean(service: Service) -> None:
    files = dict(written(service))
    assert any("segments" in str(path) for path in files)
    assert any(path.name == "service.log" for path in files)
    for file, data in files.items():
        assert CANARY.encode() not in data, file


def test_the_upstreams_key_is_sent_to_it_and_to_nobody_else(mine: tuple[Service, Fake, str]) -> None:
    service, fake, key = mine
    fake.reset()
    wait_until_ready(service)
    assert service.post(CHAT, chat(), headers={"Authorization": f"Bearer {key}"}).status_code == 200
    [asked] = fake.asked()
    assert ["Authorization", f"Bearer {CANARY}upstreamkey"] in asked["headers"]


def test_no_secret_stands_in_any_command_line_or_environment(mine: tuple[Service, Fake, str]) -> None:
    service, _fake, key = mine
    pids = [service.process.pid, *service.pids().values()]
    for pid, name in itertools.product(pids, ("cmdline", "environ")):
        data = Path(f"/proc/{pid}/{name}").read_bytes()
        assert CANARY.encode() not in data
        assert key.encode() not in data


def test_the_ledger_is_for_its_owner_only(mine: tuple[Service, Fake, str]) -> None:
    service, _fake, _key = mine
    for path in (service.ledger, *service.ledger.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_nothing_comes_out_at_the_end(mine: tuple[Service, Fake, str]) -> None:
    """What a process still held in a buffer is written when it stops."""
    service, fake, key = mine
    fake.reset()
    wait_until_ready(service)
    for path, how in requests(key, stream=False):
        service.client.post(service.url + path, **how)  # type: ignore[arg-type]  # keywords of httpx
    assert service.stop() == 0
    assert_clean(service)
