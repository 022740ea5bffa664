"""A fake upstream as a test holds it: a process of its own, switched and questioned over its control port."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SETTLED_S = 5.0


class Fake:
    """One running fake."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self.port = int(process.stdout.readline())
        self._control = int(process.stdout.readline())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def become(self, **behaviour: object) -> None:
        """Change fields of its `Behaviour`."""
        self._ask("POST", "/_faults", behaviour)

    def reset(self) -> None:
        """Good again, and nothing seen."""
        self._ask("POST", "/_reset")

    def kill(self) -> None:
        """As by the OOM killer: no FIN is sent by the program, and nobody listens afterwards."""
        self._process.kill()
        self._process.wait()

    def seen(self) -> list[dict[str, Any]]:
        """Every request since the last reset, probes among them."""
        requests: list[dict[str, Any]] = self._ask("GET", "/_seen")["requests"]
        return requests

    def asked(self) -> list[dict[str, Any]]:
        """The generating requests among them."""
        return [seen for seen in self.seen() if seen["method"] == "POST"]

    def wait_until(self, true: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """The generating requests, once `true` of them; AssertionError when it does not come so."""
        until = time.monotonic() + SETTLED_S
        while not true(asked := self.asked()):
            assert time.monotonic() < until, f"the fake saw only {[(row['path'], row['ending']) for row in asked]}"
            time.sleep(0.02)
        return asked

    def _ask(self, method: str, path: str, document: object = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._control, timeout=10)
        try:
            connection.request(method, path, json.dumps(document or {}))
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()


@contextmanager
def fake_upstream(*arguments: str) -> Iterator[Fake]:
    """A fake on a free port, ended with the block."""
    command = [sys.executable, "-m", "tests.fakes.upstream", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Fake(process)
        finally:
            process.kill()
