"""The real service as tests hold it: `ringfence serve` on a free port, in a directory of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from router.tls import client_context

RINGFENCE = Path(sys.executable).with_name("ringfence")
START_S = 20.0
STOP_S = 15.0
GREETING = re.compile(r"listens on (https?://\S+)/v1")


def environment(**given: str) -> dict[str, str]:
    """Nothing of the machine's environment but what a process needs, and coverage's own variables."""
    kept = ("PATH", "LANG", "TMPDIR")
    passed = {name: value for name, value in os.environ.items() if name in kept or name.startswith("COVERAGE_")}  # noqa: TID251 - to pass on what a process needs
    return {**passed, **given}


def ringfence(directory: Path, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [RINGFENCE, *arguments], cwd=directory, env=environment(**given), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@dataclass
class Service:
    """One running service. `directory` holds its policy, its log and its ledger."""

    process: subprocess.Popen[bytes]
    directory: Path
    url: str = ""
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30, trust_env=False))

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def log_file(self) -> Path:
        return self.directory / "service.log"

    @property
    def ledger(self) -> Path:
        return self.directory / "ledger"

    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")

    # --- asking ---

    def post(self, path: str, document: object = None, **options: Any) -> httpx.Response:
        if document is not None:
            options["json"] = document
        return self.client.post(self.url + path, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(self.url + path, **options)

    def health(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.get("/health").json()
        return answer

    # --- processes ---

    def pids(self) -> dict[str, int]:
        """Process name as in /health -> pid, from /proc."""
        pids: dict[str, int] = {}
        for pid in children(self.process.pid):
            arguments = command_line(pid)
            if "router.gate" in arguments:
                pids["gate"] = pid
            elif "router.worker" in arguments:
                pids[arguments[arguments.index("--name") + 1]] = pid
            elif "local_engine" in arguments:
                pids["engine-" + arguments[arguments.index("--name") + 1]] = pid
        return pids

    def rows(self) -> dict[str, dict[str, Any]]:
        """/health's processes by name."""
        return {row["name"]: row for row in self.health()["processes"]}

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.pids()[name], number)

    # --- the ledger ---

    def records(self, kind: str = "") -> list[dict[str, Any]]:
        return read_ledger(self.ledger, kind)

    def settled(self, decisions: int | None = None) -> list[dict[str, Any]]:
        """All outcomes, once every decision has one (and there are so many decisions); AssertionError otherwise."""
        until = time.monotonic() + 10
        while True:
            records = self.records()
            taken = [record for record in records if record["kind"] == "decision"]
            outcomes = [record for record in records if record["kind"] == "outcome"]
            if len(outcomes) >= len(taken) and (decisions is None or len(taken) >= decisions):
                assert_one_outcome_each(records)
                return outcomes
            assert time.monotonic() < until, f"{len(taken)} decisions, {len(outcomes)} outcomes"
            time.sleep(0.05)

    def verify(self) -> subprocess.CompletedProcess[str]:
        return ringfence(self.directory, "audit", "verify", str(self.ledger))

    # --- its end ---

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._destroy()
            raise

    def _destroy(self) -> None:
        for pid in (*children(self.process.pid), self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return []


def resident_bytes(pid: int) -> int:
    """RSS (proc_pid_statm(5), field 2)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def events(log: str, event: str) -> list[dict[str, Any]]:
    """The log's lines of this event."""
    rows = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [row for row in rows if row["event"] == event]


def read_ledger(ledger: Path, kind: str = "") -> list[dict[str, Any]]:
    """All records, parsed by nothing of ours; a line that is being written is left out."""
    lines = b"".join(segment.read_bytes() for segment in sorted((ledger / "segments").glob("*.jsonl"))).split(b"\n")
    records = [json.loads(line) for line in lines[:-1]]
    return [record for record in records if not kind or record["kind"] == kind]


def assert_one_outcome_each(records: list[dict[str, Any]]) -> None:
    decisions = [record["i"] for record in records if record["kind"] == "decision"]
    outcomes = Counter(record["body"]["decision"] for record in records if record["kind"] == "outcome")
    assert outcomes == Counter(decisions), "each decision has exactly one outcome"


@contextmanager
def running(
    directory: Path,
    policy: str | None = None,
    *arguments: str,
    under: tuple[str, ...] = (),
    **given: str,
) -> Iterator[Service]:
    """A service that answers /livez, stopped with the block. Its log is printed: pytest shows it when a test fails.

    `under`: the command that becomes the service, with what it changes about itself first. Where it speaks TLS, the
    directory's authority.pem is trusted.
    """
    config: tuple[str, ...] = ()
    if policy is not None:
        (directory / "policy.yaml").write_text(policy)
        config = ("--config", "policy.yaml")
    with (directory / "service.log").open("ab") as log:
        process = subprocess.Popen(
            [*under, RINGFENCE, "serve", *config, "--port", "0", *arguments], cwd=directory, env=environment(**given),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    service = Service(process, directory)
    if (authority := directory / "authority.pem").exists():
        trusting = client_context(str(authority))
        service.client = httpx.Client(timeout=30, trust_env=False, verify=trusting)
    try:
        _wait_for(lambda: _begun(service), service, "is not up")
        yield service
    finally:
        service.client.close()
        service.stop()
        print(service.log()[-8000:])


def until(true: Callable[[], object], seconds: float, what: str) -> float:
    """Wait for `true`; how long it took, or AssertionError."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


def _wait_for(true: Callable[[], bool], service: Service, what: str) -> None:
    def seen() -> bool:
        assert service.process.poll() is None, f"the service ended with {service.process.returncode}: {service.log()}"
        return true()

    until(seen, START_S, f"the service {what}: {service.log()}")


def _begun(service: Service) -> bool:
    found = GREETING.search(service.log())
    if found is None:
        return False
    service.url = found[1]
    try:
        return service.get("/livez").status_code == 200
    except httpx.HTTPError:
        return False
