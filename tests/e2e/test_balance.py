"""Balance, queues, hedging and what operators see of it all, with real processes."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.e2e.conversations import CHAT, GOOD_TEXT, MODEL, chat, data_of, error_of, text_of, wait_until_ready
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, ringfence, running, until

TIMES = "{connect: 1s, cold_start: 2s, first_token: 20s, answer: 20s, between_tokens: 20s, total: 30s}"


def one_tier(fakes: list[Fake], tier: str, upstreams: tuple[str, ...] = ("", "", "", ""), more: str = "") -> str:
    """All fakes in one tier; `tier` and `upstreams`: more keys of it and of each of them."""
    rows = "\n".join(f'  up-{n}: {{url: "{fake.url}"{upstreams[n - 1]}}}' for n, fake in enumerate(fakes, 1))
    names = ", ".join(f"up-{n}" for n in range(1, len(fakes) + 1))
    return (
        f"version: 1\nlisten: {{workers: 1}}\nupstreams:\n{rows}\ntiers:\n"
        f"  - {{name: all, upstreams: [{names}], timeouts: {TIMES}, {tier}}}\n"
        f"models: {{{MODEL}: {{tiers: [all]}}}}\n{more}"
    )


@pytest.fixture
def fakes() -> Iterator[list[Fake]]:
    with ExitStack() as stack:
        yield [stack.enter_context(fake_upstream()) for _ in range(3)]


def served_by(service: Service, count: int, **more: str) -> Counter[str]:
    answers = [service.post(CHAT, {**chat(f"number {n}"), **more}) for n in range(count)]
    assert {answer.status_code for answer in answers} == {200}
    return Counter(answer.headers["x-ringfence-upstream"] for answer in answers)


def test_turns_are_taken_by_weight(fakes: list[Fake], tmp_path: Path) -> None:
    with running(tmp_path, one_tier(fakes, "balance: round_robin", (", weight: 2", "", ""))) as service:
        wait_until_ready(service)
        assert served_by(service, 12) == {"up-1": 6, "up-2": 3, "up-3": 3}


def test_a_conversation_stays_where_its_prompt_is_cached(fakes: list[Fake], tmp_path: Path) -> None:
    with running(tmp_path, one_tier(fakes, "balance: affinity")) as service:
        wait_until_ready(service)
        assert len(served_by(service, 6, user="alice")) == 1
        assert len(served_by(service, 30)) == 3  # thirty openings
        sessions = [service.post(CHAT, chat(f"{n}"), headers={"X-Session-ID": "one"}) for n in range(6)]
        [home] = {answer.headers["x-ringfence-upstream"] for answer in sessions}
        fakes[int(home[-1]) - 1].become(fault="refuse")
        moved = {
            service.post(CHAT, chat("m"), headers={"X-Session-ID": "one"}).headers["x-ringfence-upstream"]
            for _ in range(4)
        }
        assert len(moved) == 1
        assert home not in moved


def test_the_node_that_fails_fastest_gets_least(fakes: list[Fake], tmp_path: Path) -> None:
    with running(tmp_path, one_tier(fakes, "balance: least_busy")) as service:
        wait_until_ready(service)
        fakes[0].become(fault="status_500")
        for fake in fakes[1:]:
            fake.become(first_delay_s=0.03)
        assert set(served_by(service, 40)) == {"up-2", "up-3"}
        assert len(fakes[0].asked()) < 12  # ejected, tried again, ejected again


def test_places_of_one_upstream_and_a_fair_queue_with_its_position(fakes: list[Fake], tmp_path: Path) -> None:
    tier = "concurrency: 2, queue: 8"
    with running(tmp_path, one_tier(fakes[:2], tier, (", concurrency: 1", ", concurrency: 1"))) as service:
        wait_until_ready(service)
        for fake in fakes:
            fake.become(first_delay_s=0.5)
        answers: list[httpx.Response] = []

        def ask() -> None:
            answers.append(service.post(CHAT, chat()))

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert {answer.status_code for answer in answers} == {200}
        timings = [answer.headers["server-timing"] for answer in answers]
        waited = sorted(timing.partition('desc="')[2].partition('"')[0] for timing in timings)
        assert waited == ["", "", "position 1", "position 2"]
        assert Counter(answer.headers["x-ringfence-upstream"] for answer in answers) == {"up-1": 2, "up-2": 2}


def test_one_that_is_busy_is_left_alone_until_it_said(fakes: list[Fake], tmp_path: Path) -> None:
    with running(tmp_path, one_tier(fakes[:2], "balance: round_robin")) as service:
        wait_until_ready(service)
        fakes[0].become(fault="busy", times=1)  # Retry-After: 7
        served_by(service, 2)
        assert served_by(service, 6) == {"up-2": 6}


# --- hedging ---


@pytest.mark.parametrize("stream", [True, False])
def test_a_silent_upstream_is_overtaken_and_stopped(fakes: list[Fake], tmp_path: Path, *, stream: bool) -> None:
    with running(tmp_path, one_tier(fakes[:2], "hedge_after: 300ms")) as service:
        wait_until_ready(service)
        for fake in fakes[:2]:
            fake.become(first_delay_s=0.0)
        slow, fast = fakes[0], fakes[1]
        while service.post(CHAT, chat()).headers["x-ringfence-upstream"] != "up-2":
            continue  # so that it is the slow one's turn
        decisions = len(service.settled())
        slow.become(first_delay_s=20.0)
        fast.become(first_delay_s=0.5)
        answer = service.post(CHAT, chat(stream=stream))
        assert (answer.status_code, answer.headers["x-ringfence-upstream"]) == (200, "up-2")
        if stream:
            assert text_of(data_of(answer.content)) == GOOD_TEXT
        endings = [outcome["body"]["ending"] for outcome in service.settled(decisions + 2)[-2:]]
        assert sorted(endings) == ["completed", "hedged"]
        slow.wait_until(lambda seen: bool(seen) and seen[-1]["ending"] == "client_left")
        states = {row["name"]: row["state"] for row in service.health()["tiers"]["all"]}
        assert states == {"up-1": "ready", "up-2": "ready"}  # to be slow is no failure


# --- what operators see ---


def test_operators_see_states_with_reasons_and_probe_at_once(fakes: list[Fake], tmp_path: Path) -> None:
    made = [
        ringfence(tmp_path, "keys", "create", name, *more, "--json") for name, *more in (["bob"], ["op", "--operator"])
    ]
    bob, operator = ({"Authorization": f"Bearer {json.loads(one.stdout)['key']}"} for one in made)
    keys = "callers: {file: keys.yaml}\n"
    with running(tmp_path, one_tier(fakes[:2], "balance: round_robin", more=keys)) as service:
        wait_until_ready(service)
        for path in ("/admin/upstreams", "/metrics"):
            assert service.get(path).status_code == 401
            refused = service.get(path, headers=bob)
            assert (refused.status_code, error_of(refused.content)["code"]) == (403, "operator_needed")
        assert service.get("/admin/upstreams/none", headers=operator).json()["error"]["code"] == "upstream_not_found"

        fakes[0].become(fault="refuse")
        for _ in range(2):
            assert service.post(CHAT, chat(), headers=bob).status_code == 200
        one = service.get("/admin/upstreams/up-1", headers=operator).json()
        assert (one["state"], one["tiers"]) == ("failing", ["all"])
        assert one["reason"] == "refused: nobody listens at its address and port"
        assert [step["after"] for step in one["transitions"]][-2:] == ["ready", "failing"]
        assert '"event":"upstream_state","upstream":"up-1","before":"ready","state":"failing"' in service.log()

        fakes[0].become(fault="")
        probed = service.post("/admin/upstreams/up-1/probe", headers=operator).json()
        assert probed["state"] == "ready"
        assert fakes[0].port not in json.loads(service.get("/admin/upstreams", headers=operator).text)["upstreams"]

        metrics = service.get("/metrics", headers=operator)
        assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = metrics.text.splitlines()
        assert 'ringfence_upstream_state{upstream="up-1",state="ready"} 1' in lines
        assert 'ringfence_upstream_transitions_total{upstream="up-1",from="ready",to="failing"} 1' in lines
        assert 'ringfence_exchanges_total{tier="all",upstream="up-2",ending="completed",status="2xx"} 2' in lines
        assert 'ringfence_tier_queued{tier="all"} 0' in lines
        assert any(line.startswith("ringfence_exchange_first_byte_seconds_bucket") for line in lines)
        for secret in ("bob", "hello", "127.0.0.1"):
            assert secret not in metrics.text


def test_a_refused_credential_is_said_loudly_and_tried_again(fakes: list[Fake], tmp_path: Path) -> None:
    with running(tmp_path, one_tier(fakes[:2], "balance: round_robin")) as service:
        wait_until_ready(service)
        fakes[0].become(fault="status_401")
        served_by(service, 4)
        assert (
            '"state":"failing","reason":"credential_refused: it refuses our credential: see its key_file'
            in service.log()
        )
        fakes[0].become(fault="")
        until(lambda: served_by(service, 2)["up-1"] == 1, 10, "it is back")


def test_without_keys_only_metrics_are_open(fakes: list[Fake], tmp_path: Path) -> None:
    with running(tmp_path, one_tier(fakes[:1], "balance: round_robin")) as service:
        assert service.get("/metrics").status_code == 200
        refused = service.get("/admin/upstreams")
        assert (refused.status_code, error_of(refused.content)["code"]) == (403, "operator_needed")
        assert "ringfence keys create" in refused.text
